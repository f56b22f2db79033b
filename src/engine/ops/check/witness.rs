//! Which test launches which kernel on which device: a line each in the file that `DDPM_LAUNCHED_KERNELS` names. With it a
//! run on a GPU shows that every kernel's values were compared there; `tests/kernels.txt` is the list of what must be in it.

use crate::Result;
use crate::engine::device::driver::{Allocation, ReadBack, Recording};
use crate::engine::device::{Driver, KernelCall};
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Mutex;

/// The same device; what the running test launches on it is written down, if that is asked for.
pub fn witnessed(driver: Box<dyn Driver>, device: &'static str) -> Box<dyn Driver> {
    match std::env::var_os("DDPM_LAUNCHED_KERNELS") {
        Some(_) => Box::new(Witness { driver, device }),
        None => driver,
    }
}

/// Writes down that a test, the name of this thread unless told, launches a kernel.
///
/// # Panics
/// If the file cannot be written.
pub fn note_launched(kernel: &str, device: &str, test: Option<&str>) {
    static WRITTEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let Some(file) = std::env::var_os("DDPM_LAUNCHED_KERNELS") else { return };
    let thread = std::thread::current();
    let line = format!("{kernel} {device} {}\n", test.or(thread.name()).unwrap_or("main"));
    let mut written = WRITTEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !written.contains(&line) {
        let opened = OpenOptions::new().append(true).create(true).open(&file);
        opened.and_then(|mut file| file.write_all(line.as_bytes())).expect("DDPM_LAUNCHED_KERNELS names a file");
        written.insert(line);
    }
}

struct Witness {
    driver: Box<dyn Driver>,
    device: &'static str,
}

impl Witness {
    fn note(&self, calls: &[KernelCall]) {
        calls.iter().for_each(|call| note_launched(&call.kernel, self.device, None));
    }
}

impl Driver for Witness {
    fn name(&self) -> String {
        self.driver.name()
    }

    fn compute_capability(&self) -> (u32, u32) {
        self.driver.compute_capability()
    }

    fn multiprocessors(&self) -> usize {
        self.driver.multiprocessors()
    }

    fn is_asynchronous(&self) -> bool {
        self.driver.is_asynchronous()
    }

    fn memory_info(&self) -> Result<(u64, u64)> {
        self.driver.memory_info()
    }

    fn alloc(&self, bytes: usize) -> Result<Allocation> {
        self.driver.alloc(bytes)
    }

    fn free(&self, allocation: Allocation) {
        self.driver.free(allocation);
    }

    fn fill(&self, address: u64, bytes: usize, value: u8) -> Result<()> {
        self.driver.fill(address, bytes, value)
    }

    fn upload(&self, address: u64, host: &[u8]) -> Result<()> {
        self.driver.upload(address, host)
    }

    fn download(&self, address: u64, host: &mut [u8]) -> Result<()> {
        self.driver.download(address, host)
    }

    fn read_back(&self, address: u64, bytes: usize) -> Result<Box<dyn ReadBack>> {
        self.driver.read_back(address, bytes)
    }

    fn launch(&self, call: &KernelCall) -> Result<()> {
        self.note(std::slice::from_ref(call));
        self.driver.launch(call)
    }

    fn record(&self, calls: &[KernelCall]) -> Result<Box<dyn Recording>> {
        self.note(calls);
        self.driver.record(calls)
    }

    fn time_ms(&self, calls: &[KernelCall]) -> Result<Vec<f32>> {
        self.note(calls);
        self.driver.time_ms(calls)
    }

    fn synchronize(&self) -> Result<()> {
        self.driver.synchronize()
    }
}
