//! Device memory, pinned host memory, and copies.

use super::Machine;
use super::queues::{Action, Host, Op, Reference, Work};
use crate::codes::{Code, Result};

/// An allocation.
pub struct Block {
    pub bytes: usize,
    /// Tells it from a later one at the same address.
    pub id: u64,
}

/// Where a table has a range: the allocation's address, and how many bytes it has from the range's start.
fn find(blocks: &super::Table<Block>, address: u64, bytes: usize) -> Option<(u64, &Block, usize)> {
    let (&base, block) = blocks.range(..=address).next_back()?;
    let left = block.bytes.checked_sub(usize::try_from(address - base).ok()?)?;
    (left > 0 && bytes <= left).then_some((base, block, left))
}

impl Machine {
    /// Free and total bytes.
    pub fn memory_info(&mut self) -> Result<(usize, usize)> {
        let context = self.current()?;
        let ordinal = self.usable(context)?;
        let (free, total) = self.devices[ordinal].memory.info().map_err(|_| Code::ERROR_UNKNOWN)?;
        Ok((free as usize, total as usize))
    }

    pub fn allocate(&mut self, bytes: usize) -> Result<u64> {
        let context = self.current()?;
        self.not_in_a_capture()?;
        let ordinal = self.usable(context)?;
        if bytes == 0 {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        let id = self.handle();
        let device = &mut self.devices[ordinal];
        let address = device.memory.allocate(bytes).map_err(|_| Code::ERROR_OUT_OF_MEMORY)?;
        device.blocks.insert(address, Block { bytes, id });
        Ok(address)
    }

    /// Waits for all work, and frees.
    pub fn free(&mut self, address: u64) -> Result<()> {
        self.current()?;
        self.not_in_a_capture()?;
        let owner = self.devices.iter().position(|device| device.blocks.contains_key(&address));
        let ordinal = owner.ok_or(Code::ERROR_INVALID_VALUE)?;
        let context = super::FIRST_CONTEXT + 16 * ordinal as u64;
        self.usable(context)?;
        self.drain(context);
        let device = &mut self.devices[ordinal];
        device.blocks.remove(&address);
        device.memory.free(address);
        self.usable(context).map(drop)
    }

    pub fn allocate_host(&mut self, bytes: usize, flags: u32) -> Result<u64> {
        self.current()?;
        self.not_in_a_capture()?;
        if bytes == 0 || flags > 7 {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        let address = self.host.allocate(bytes).map_err(|_| Code::ERROR_OUT_OF_MEMORY)?;
        let id = self.handle();
        self.pinned.insert(address, Block { bytes, id });
        Ok(address)
    }

    pub fn free_host(&mut self, address: u64) -> Result<()> {
        let context = self.current()?;
        self.not_in_a_capture()?;
        let id = self.pinned.get(&address).ok_or(Code::ERROR_INVALID_VALUE)?.id;
        if self.pending_work_refers_to(id) {
            crate::fatal("pinned memory is freed that a pending copy still refers to");
        }
        self.pinned.remove(&address);
        self.host.free(address);
        self.usable(context).map(drop)
    }

    /// The allocation of a context's device, or of the pinned memory, that holds a range, and the bytes from its start to the
    /// end of the allocation.
    pub(super) fn resolve(&self, context: u64, address: u64, bytes: usize) -> Option<(Reference, usize)> {
        let ordinal = self.device_of(context).ok()?;
        let (base, block, left) = find(&self.devices[ordinal].blocks, address, bytes)?;
        Some((Reference { ordinal: Some(ordinal), base, id: block.id }, left))
    }

    fn on_device(&self, context: u64, address: u64, bytes: usize) -> Result<Reference> {
        self.resolve(context, address, bytes).map(|(reference, _)| reference).ok_or(Code::ERROR_INVALID_VALUE)
    }

    fn on_host(&self, address: u64, bytes: usize) -> Option<Reference> {
        let (base, block, _) = find(&self.pinned, address, bytes)?;
        Some(Reference { ordinal: None, base, id: block.id })
    }

    pub(super) fn is_alive(&self, reference: &Reference) -> bool {
        let blocks = match reference.ordinal {
            Some(ordinal) => &self.devices[ordinal].blocks,
            None => &self.pinned,
        };
        blocks.get(&reference.base).is_some_and(|block| block.id == reference.id)
    }

    pub fn fill(&mut self, address: u64, value: u8, bytes: usize, stream: u64) -> Result<()> {
        let (stream, context) = self.stream(stream)?;
        if bytes == 0 {
            return Ok(());
        }
        let references = vec![self.on_device(context, address, bytes)?];
        self.enqueue(stream, Op::Work(Work { references, action: Action::Fill { address, bytes, value } }))
    }

    pub fn copy(&mut self, to: u64, from: u64, bytes: usize, stream: u64) -> Result<()> {
        let (stream, context) = self.stream(stream)?;
        if bytes == 0 {
            return Ok(());
        }
        let references = vec![self.on_device(context, to, bytes)?, self.on_device(context, from, bytes)?];
        self.enqueue(stream, Op::Work(Work { references, action: Action::Copy { to, from, bytes } }))
    }

    /// Copies from the host. `pageable` reads the bytes where the host's memory is not pinned: such a copy is staged before
    /// the call returns.
    pub fn upload(
        &mut self,
        to: u64,
        from: u64,
        bytes: usize,
        stream: u64,
        pageable: impl FnOnce() -> Vec<u8>,
    ) -> Result<()> {
        let (stream, context) = self.stream(stream)?;
        if bytes == 0 {
            return Ok(());
        }
        let mut references = vec![self.on_device(context, to, bytes)?];
        let from = match self.on_host(from, bytes) {
            Some(reference) => {
                references.push(reference);
                Host::Pinned(from)
            }
            // A graph would read it again at each launch.
            None if self.is_capturing(stream) => return Err(Code::ERROR_NOT_SUPPORTED),
            None => Host::Copied(pageable()),
        };
        self.enqueue(stream, Op::Work(Work { references, action: Action::Upload { to, from, bytes } }))
    }

    /// Copies to the host. Where that memory is not pinned, `pageable` writes the bytes before the call returns.
    pub fn download(
        &mut self,
        to: u64,
        from: u64,
        bytes: usize,
        stream: u64,
        pageable: impl FnOnce(&[u8]),
    ) -> Result<()> {
        let (stream, context) = self.stream(stream)?;
        if bytes == 0 {
            return Ok(());
        }
        let mut references = vec![self.on_device(context, from, bytes)?];
        let Some(reference) = self.on_host(to, bytes) else {
            return self.download_now(from, bytes, stream, pageable);
        };
        references.push(reference);
        self.enqueue(stream, Op::Work(Work { references, action: Action::Download { to, from, bytes } }))
    }

    /// Copies to the host after the work of the legacy stream and of those that block on it; other streams go on.
    pub fn download_sync(&mut self, from: u64, bytes: usize, write: impl FnOnce(&[u8])) -> Result<()> {
        let context = self.current()?;
        self.not_in_a_capture()?;
        if bytes == 0 {
            return Ok(());
        }
        self.on_device(context, from, bytes)?;
        self.enqueue(context, Op::Nothing)?;
        self.download_now(from, bytes, context, write)
    }

    fn download_now(&mut self, from: u64, bytes: usize, stream: u64, write: impl FnOnce(&[u8])) -> Result<()> {
        if self.is_capturing(stream) {
            return Err(Code::ERROR_NOT_SUPPORTED);
        }
        let context = self.streams[&stream].context;
        self.run_all_of(stream);
        let ordinal = self.usable(context)?;
        let source = self.devices[ordinal].memory.bytes_at(from, bytes).map_err(|_| Code::ERROR_INVALID_VALUE)?;
        write(source);
        Ok(())
    }
}
