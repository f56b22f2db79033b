//! Names the two accesses of a race.

use std::fmt;

/// A fault of order: a result that depends on how fast warps, copies and products run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Race {
    pub kernel: String,
    /// Says what is wrong, and where.
    pub reason: String,
    /// The access that came first here; none where memory is read that nobody wrote.
    pub first: Option<Party>,
    pub second: Party,
}

/// One of the accesses of a [`Race`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    pub block: [u32; 3],
    pub warp: u32,
    /// The lane, unless all lanes together did it.
    pub lane: Option<u32>,
    /// File and line of the CUDA source, where the text has been compiled with `-lineinfo`.
    pub source: Option<(String, u32)>,
    /// File and line at which the kernel calls the function that the source line belongs to, if that has been inlined. The
    /// text does not always tell several calls of one function apart: then it is the last of them.
    pub caller: Option<(String, u32)>,
    pub ptx_line: u32,
    pub opcode: String,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [x, y, z] = self.block;
        write!(f, "`{}` of block ({x}, {y}, {z}), warp {}", self.opcode, self.warp)?;
        if let Some(lane) = self.lane {
            write!(f, ", lane {lane}")?;
        }
        f.write_str(" (")?;
        if let Some((file, line)) = &self.source {
            write!(f, "{file}:{line}, ")?;
        }
        if let Some((file, line)) = &self.caller {
            write!(f, "called at {file}:{line}, ")?;
        }
        write!(f, "PTX line {})", self.ptx_line)
    }
}

impl fmt::Display for Race {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "race in {}: {}: ", self.kernel, self.reason)?;
        match &self.first {
            Some(first) => write!(f, "{first}, and {}", self.second),
            None => write!(f, "{}", self.second),
        }
    }
}
