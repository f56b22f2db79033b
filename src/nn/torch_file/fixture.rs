//! State dicts as `torch.save` writes them, for tests.

use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A tensor by name: dimensions and values.
type Named = (String, Vec<usize>, Vec<f32>);

/// The file of a dict of tensors, or with `within` of a dict that holds it under that name.
pub fn state_dict(tensors: &[Named], within: Option<&str>) -> Vec<u8> {
    let mut pickle = vec![0x80, 2, b'}'];
    if let Some(name) = within {
        text(&mut pickle, name);
        pickle.push(b'}');
    }
    for (key, (name, dims, values)) in tensors.iter().enumerate() {
        text(&mut pickle, name);
        tensor(&mut pickle, key, dims, values.len());
        pickle.push(b's');
    }
    if within.is_some() {
        pickle.push(b's');
    }
    pickle.push(b'.');
    archive(&pickle, tensors)
}

/// A file with this pickle and the storages of tensors.
pub fn archive(pickle: &[u8], tensors: &[Named]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let mut add = |name: String, bytes: &[u8]| {
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        archive.start_file(format!("model/{name}"), stored).unwrap();
        archive.write_all(bytes).unwrap();
    };
    add("data.pkl".into(), pickle);
    add("byteorder".into(), b"little");
    for (key, (_, _, values)) in tensors.iter().enumerate() {
        add(format!("data/{key}"), bytemuck::cast_slice(values));
    }
    archive.finish().unwrap().into_inner()
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.as_bytes());
}

fn int(pickle: &mut Vec<u8>, value: usize) {
    pickle.push(b'J');
    pickle.extend((value as u32).to_le_bytes());
}

/// `_rebuild_tensor_v2(("storage", FloatStorage, key, "cpu", len), 0, dims, strides, False, OrderedDict())`
fn tensor(pickle: &mut Vec<u8>, key: usize, dims: &[usize], len: usize) {
    pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(pickle, "storage");
    pickle.extend(b"ctorch\nFloatStorage\n");
    text(pickle, &key.to_string());
    text(pickle, "cpu");
    int(pickle, len);
    pickle.extend(b"tQ");
    int(pickle, 0);
    let strides: Vec<usize> = (0..dims.len()).map(|i| dims[i + 1..].iter().product()).collect();
    for counts in [dims, &strides] {
        pickle.push(b'(');
        counts.iter().for_each(|&count| int(pickle, count));
        pickle.push(b't');
    }
    pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
}
