// Four neighbouring elements of one image of a tensor [n, d]: the unit in which Philox numbers come.
#pragma once

struct Quad {
  uint32_t image, index;  // elements 4 index .. 4 index + 3 of the image
  size_t first;           // offset of the first one in the tensor
  int count;              // how many of them exist: 4, fewer at the image's end, 0 past it

  __device__ __forceinline__ Quad(uint32_t image_, size_t index_, size_t d)
      : image(image_), index(uint32_t(index_)), first(image_ * d + 4 * index_) {
    const size_t begin = 4 * index_;
    count = begin + 4 <= d ? 4 : begin < d ? int(d - begin) : 0;
  }

  // Loads and stores are one access of four elements where the address allows it. Missing elements read as 0.
  template <class T> __device__ __forceinline__ void load(float (&out)[4], const T* tensor) const {
    if (wide()) {
      load_floats(out, tensor + first);
    } else {
#pragma unroll
      for (int k = 0; k < 4; k++) out[k] = k < count ? to_float(tensor[first + k]) : 0.0f;
    }
  }
  template <class T> __device__ __forceinline__ void store(T* tensor, const float (&in)[4]) const {
    if (wide()) {
      store_floats(tensor + first, in);
    } else {
#pragma unroll
      for (int k = 0; k < 4; k++) {
        if (k < count) tensor[first + k] = from_float<T>(in[k]);
      }
    }
  }

 private:
  __device__ __forceinline__ bool wide() const { return count == 4 && first % 4 == 0; }
};
