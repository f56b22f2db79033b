//! Images of modules: fat binaries as `nvcc -fatbin` writes them, with machine code (ELF) and PTX for several
//! architectures.

use crate::codes::{Code, Result};
use std::io::Read;

/// Machine code or PTX that a device would run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// `CU_FUNC_ATTRIBUTE_BINARY_VERSION` and `CU_FUNC_ATTRIBUTE_PTX_VERSION` of its kernels.
    pub binary_version: u32,
    pub ptx_version: u32,
    pub kernels: Vec<Kernel>,
}

/// A kernel of a module.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Kernel {
    /// Its mangled name.
    pub symbol: String,
    /// Offset and bytes of each parameter.
    pub parameters: Vec<(usize, usize)>,
    /// Static shared memory of a block.
    pub shared_bytes: u32,
    /// Registers of a thread; 0 where they are not known, as in PTX.
    pub registers: u32,
    /// Most threads of a block that it was compiled for.
    pub max_threads: u32,
    /// Blocks of a cluster.
    pub cluster: u32,
}

/// Bytes of a fat binary's header, of which the last eight say how much follows.
pub const HEADER_BYTES: usize = 16;
const MAGIC: u32 = 0xba55_ed50;
const PTX: u16 = 1;
const ELF: u16 = 2;
/// Flags of an entry: code for one generation alone (`sm_90a`), and how it is compressed.
const ARCHITECTURE_SPECIFIC: u64 = 0x10_0000;
const LZ4: u64 = 0x2000;
const ZSTD: u64 = 0x8000;

/// Length of the fat binary that starts with this header.
///
/// # Errors
/// `ERROR_INVALID_IMAGE` if it is none.
pub fn length(header: &[u8]) -> Result<usize> {
    let image = Bytes(header);
    if image.u32(0)? != MAGIC {
        return Err(Code::ERROR_INVALID_IMAGE);
    }
    Ok(image.u16(6)? as usize + image.u64(8)? as usize)
}

/// Chooses what a device of this capability runs, as the driver does: machine code of its own generation, the latest
/// that is not later than it; without such code, the latest PTX that is not.
///
/// # Errors
/// `ERROR_INVALID_IMAGE`, or `ERROR_NO_BINARY_FOR_GPU`.
pub fn load(image: &[u8], capability: (u32, u32)) -> Result<Module> {
    let image = Bytes(image);
    let device = capability.0 * 10 + capability.1;
    let (mut at, end) = (image.u16(6)? as usize, length(image.0)?);
    let mut best: Option<(u16, u32, usize)> = None;
    while at < end {
        let (kind, arch, flags) = (image.u16(at)?, image.u32(at + 28)?, image.u64(at + 40)?);
        let fits = match kind {
            ELF if flags & ARCHITECTURE_SPECIFIC != 0 => arch == device,
            ELF => arch / 10 == capability.0 && arch <= device,
            PTX => arch <= device,
            _ => false,
        };
        // Machine code before PTX, then the latest; architecture-specific code stands behind the other.
        if fits && best.is_none_or(|(other, newest, _)| (kind, arch) >= (other, newest)) {
            best = Some((kind, arch, at));
        }
        at += image.u32(at + 4)? as usize + image.u64(at + 8)? as usize;
    }
    let (kind, arch, at) = best.ok_or(Code::ERROR_NO_BINARY_FOR_GPU)?;
    let payload = payload(image, at)?;
    let (binary_version, kernels) = match kind {
        ELF => (arch, Elf::new(&payload)?.kernels(reserved_shared_bytes(arch))?),
        _ => (device, ptx_kernels(std::str::from_utf8(&payload).map_err(|_| Code::ERROR_INVALID_IMAGE)?)?),
    };
    Ok(Module { binary_version, ptx_version: arch, kernels })
}

/// Shared memory of each block that the system keeps for itself: from Hopper on it is part of a kernel's section, and of
/// no limit.
fn reserved_shared_bytes(arch: u32) -> u32 {
    if arch >= 90 { 1024 } else { 0 }
}

fn payload(image: Bytes, at: usize) -> Result<Vec<u8>> {
    let (start, flags) = (at + image.u32(at + 4)? as usize, image.u64(at + 40)?);
    if flags & LZ4 != 0 {
        // No compiler that is used here writes it.
        return Err(Code::ERROR_NOT_SUPPORTED);
    }
    if flags & ZSTD == 0 {
        return Ok(image.range(start, image.u64(at + 8)? as usize)?.to_vec());
    }
    let packed = image.range(start, image.u32(at + 16)? as usize)?;
    let mut text = Vec::new();
    let mut decoder = ruzstd::decoding::StreamingDecoder::new(packed).map_err(|_| Code::ERROR_INVALID_IMAGE)?;
    decoder.read_to_end(&mut text).map_err(|_| Code::ERROR_INVALID_IMAGE)?;
    text.resize(image.u64(at + 56)? as usize, 0);
    // Zeros pad the text.
    text.truncate(text.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1));
    Ok(text)
}

/// Little-endian numbers at offsets.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn range(self, at: usize, bytes: usize) -> Result<&'a [u8]> {
        at.checked_add(bytes).and_then(|end| self.0.get(at..end)).ok_or(Code::ERROR_INVALID_IMAGE)
    }

    fn u16(self, at: usize) -> Result<u16> {
        Ok(u16::from_le_bytes(self.range(at, 2)?.try_into().expect("two bytes")))
    }

    fn u32(self, at: usize) -> Result<u32> {
        Ok(u32::from_le_bytes(self.range(at, 4)?.try_into().expect("four bytes")))
    }

    fn u64(self, at: usize) -> Result<u64> {
        Ok(u64::from_le_bytes(self.range(at, 8)?.try_into().expect("eight bytes")))
    }

    /// The text from here to a NUL.
    fn text(self, at: usize) -> Result<String> {
        let rest = self.0.get(at..).ok_or(Code::ERROR_INVALID_IMAGE)?;
        let end = rest.iter().position(|&byte| byte == 0).ok_or(Code::ERROR_INVALID_IMAGE)?;
        Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
    }
}

struct Section<'a> {
    name: String,
    content: Bytes<'a>,
    bytes: usize,
    link: u32,
}

/// Machine code: an ELF file whose sections `.nv.info.KERNEL` describe its kernels.
struct Elf<'a>(Vec<Section<'a>>);

/// Attributes of `.nv.info` that are read here (`EIATTR_*`), in the format with a size of their own.
const SIZED: u8 = 4;
const MAX_THREADS: u8 = 0x05;
const PARAMETER: u8 = 0x17;
const REGISTERS: u8 = 0x2f;
const CLUSTER: u8 = 0x3d;

impl<'a> Elf<'a> {
    fn new(file: &'a [u8]) -> Result<Elf<'a>> {
        const NO_BYTES: u32 = 8;
        let file = Bytes(file);
        if file.range(0, 4)? != b"\x7fELF" {
            return Err(Code::ERROR_INVALID_IMAGE);
        }
        let header = |i: usize| Ok(file.u64(40)? as usize + 64 * i);
        let names = file.u64(header(file.u16(62)? as usize)? + 24)? as usize;
        let section = |i: usize| {
            let at = header(i)?;
            let (start, bytes) = (file.u64(at + 24)? as usize, file.u64(at + 32)? as usize);
            let content = if file.u32(at + 4)? == NO_BYTES { &[][..] } else { file.range(start, bytes)? };
            let name = file.text(names + file.u32(at)? as usize)?;
            Ok(Section { name, content: Bytes(content), bytes, link: file.u32(at + 40)? })
        };
        Ok(Elf((0..file.u16(60)? as usize).map(section).collect::<Result<_>>()?))
    }

    fn section(&self, name: &str) -> Option<&Section<'a>> {
        self.0.iter().find(|section| section.name == name)
    }

    fn kernels(&self, reserved_bytes: u32) -> Result<Vec<Kernel>> {
        let registers = self.registers()?;
        let mut kernels = Vec::new();
        for section in &self.0 {
            let Some(symbol) = section.name.strip_prefix(".nv.info.") else { continue };
            let mut kernel = Kernel { symbol: symbol.into(), max_threads: 1024, cluster: 1, ..Kernel::default() };
            let mut parameters = Vec::new();
            attributes(section.content, |attribute, value| {
                match attribute {
                    MAX_THREADS => kernel.max_threads = value.u32(0)? * value.u32(4)? * value.u32(8)?,
                    CLUSTER => kernel.cluster = value.u32(0)? * value.u32(4)? * value.u32(8)?,
                    PARAMETER => {
                        let (ordinal, offset) = (value.u16(4)? as usize, value.u16(6)? as usize);
                        parameters.push((ordinal, offset, (value.u32(8)? >> 18) as usize));
                    }
                    _ => {}
                }
                Ok(())
            })?;
            parameters.sort_unstable();
            kernel.parameters = parameters.into_iter().map(|(_, offset, bytes)| (offset, bytes)).collect();
            let shared = self.section(&format!(".nv.shared.{symbol}")).map_or(0, |shared| shared.bytes as u32);
            kernel.shared_bytes = shared.saturating_sub(reserved_bytes);
            kernel.registers = registers.iter().find(|(name, _)| name == symbol).map_or(0, |&(_, registers)| registers);
            kernels.push(kernel);
        }
        Ok(kernels)
    }

    /// Kernels and their registers, which `.nv.info` lists by the number of the symbol.
    fn registers(&self) -> Result<Vec<(String, u32)>> {
        let mut registers = Vec::new();
        let (Some(info), Some(symbols)) = (self.section(".nv.info"), self.section(".symtab")) else {
            return Ok(registers);
        };
        let names = self.0.get(symbols.link as usize).ok_or(Code::ERROR_INVALID_IMAGE)?.content;
        attributes(info.content, |attribute, value| {
            if attribute == REGISTERS {
                let name = symbols.content.u32(24 * value.u32(0)? as usize)?;
                registers.push((names.text(name as usize)?, value.u32(4)?));
            }
            Ok(())
        })?;
        Ok(registers)
    }
}

/// Calls `f` with every attribute that has a size of its own.
fn attributes(info: Bytes, mut f: impl FnMut(u8, Bytes) -> Result<()>) -> Result<()> {
    let mut at = 0;
    while at < info.0.len() {
        let (format, attribute) = (info.range(at, 1)?[0], info.range(at + 1, 1)?[0]);
        let bytes = if format == SIZED { info.u16(at + 2)? as usize } else { 0 };
        if format == SIZED {
            f(attribute, Bytes(info.range(at + 4, bytes)?))?;
        }
        at += 4 + bytes;
    }
    Ok(())
}

/// Reads the kernels of a PTX text, for a driver that compiles it.
fn ptx_kernels(text: &str) -> Result<Vec<Kernel>> {
    let mut kernels = Vec::new();
    for entry in text.split(".entry ").skip(1) {
        let (head, _) = entry.split_once('{').ok_or(Code::ERROR_INVALID_IMAGE)?;
        let (symbol, rest) = head.split_once('(').ok_or(Code::ERROR_INVALID_IMAGE)?;
        let (parameters, directives) = rest.split_once(')').ok_or(Code::ERROR_INVALID_IMAGE)?;
        let mut kernel = Kernel { symbol: symbol.trim().into(), max_threads: 1024, cluster: 1, ..Kernel::default() };
        let mut offset = 0;
        for parameter in parameters.split(',').filter(|parameter| parameter.contains(".param")) {
            let (align, bytes) = ptx_parameter(parameter).ok_or(Code::ERROR_INVALID_IMAGE)?;
            offset = usize::next_multiple_of(offset, align);
            kernel.parameters.push((offset, bytes));
            offset += bytes;
        }
        if let Some((_, threads)) = directives.split_once(".maxntid") {
            let numbers = threads.split(|c: char| !c.is_ascii_digit() && c != ' ' && c != ',').next().unwrap_or("");
            kernel.max_threads =
                numbers.split([',', ' ']).filter_map(|n| n.parse::<u32>().ok()).take(3).product::<u32>().max(1);
        }
        kernels.push(kernel);
    }
    Ok(kernels)
}

/// Alignment and bytes: `.param .u64 name` or `.param .align 8 .b8 name[24]`.
fn ptx_parameter(text: &str) -> Option<(usize, usize)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let after = |name| words.iter().position(|word| *word == name).and_then(|i| words.get(i + 1));
    let ty = words
        .iter()
        .skip(1)
        .find(|word| word.starts_with('.') && word.len() > 2 && word[2..].bytes().all(|b| b.is_ascii_digit()))?;
    let element = ty[2..].parse::<usize>().ok()? / 8;
    let count = match words.last()?.split_once('[') {
        Some((_, count)) => count.trim_end_matches(']').parse().ok()?,
        None => 1,
    };
    let align = after(".align").filter(|_| count > 1).and_then(|n| n.parse().ok()).unwrap_or(element);
    Some((align, element * count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_ptx_are_read() {
        let text = ".version 9.0\n.visible .entry _Z1kPfi(\n.param .u64 .ptr .align 1 a_0,\n.param .u32 a_1,\n\
                    .param .align 8 .b8 a_2[24],\n.param .f32 a_3\n)\n.maxntid 128, 2, 1\n{\n}\n.entry _Z1lv()\n{ }\n";
        let kernels = ptx_kernels(text).unwrap();
        assert_eq!(kernels[0].parameters, [(0, 8), (8, 4), (16, 24), (40, 4)]);
        assert_eq!((kernels[0].symbol.as_str(), kernels[0].max_threads), ("_Z1kPfi", 256));
        assert_eq!((kernels[1].symbol.as_str(), kernels[1].parameters.len()), ("_Z1lv", 0));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert_eq!(length(&[0; 16]), Err(Code::ERROR_INVALID_IMAGE));
        let mut header = MAGIC.to_le_bytes().to_vec();
        header.extend([1, 0, 16, 0, 64, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(length(&header), Ok(80));
        assert_eq!(load(&header, (9, 0)), Err(Code::ERROR_INVALID_IMAGE), "cut off");
    }
}
