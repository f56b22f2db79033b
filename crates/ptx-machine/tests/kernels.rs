//! Every kernel file of the tree is read and lowered: there is no instruction in it that the machine does not execute.

mod support;

use ptx_machine::Machine;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn every_kernel_of_the_tree_is_lowered() {
    let Some(nvcc) = support::nvcc() else { skip!("no nvcc (scripts/cuda-toolkit.sh)") };
    let files = support::kernel_files();
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut opcodes, mut kernels) = (BTreeSet::new(), 0);
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let text = support::ptx(&nvcc, file);
            let module = Machine::default().load(&file.display().to_string(), &text);
            let module = module.unwrap_or_else(|error| panic!("{error}"));
            kernels += module.kernels().count();
            opcodes.extend(module.opcodes().into_iter().map(str::to_owned));
        }
        (opcodes, kernels)
    };
    let found: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    let kernels: usize = found.iter().map(|(_, kernels)| kernels).sum();
    let opcodes: BTreeSet<String> = found.into_iter().flat_map(|(opcodes, _)| opcodes).collect();
    println!("{} files, {kernels} kernels, {} opcodes: {opcodes:?}", files.len(), opcodes.len());
    assert!(kernels > 100 && opcodes.len() > 150, "{kernels} kernels, {} opcodes", opcodes.len());
}
