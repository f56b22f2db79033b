//! Exercise 16.2: a file that is old or new, whatever happens.

/// A folder on a disk, as a program sees it. Nothing but `sync` and `sync_folder` waits for the disk: whatever else was done may
/// be lost in a power cut, in part or altogether. Names change in the order in which they were changed.
pub trait Disk {
    /// Makes an empty file of this name. One that exists is emptied.
    fn create(&mut self, name: &str);
    /// Appends bytes to a file.
    fn write(&mut self, name: &str, bytes: &[u8]);
    /// Returns when the bytes of a file are on the disk.
    fn sync(&mut self, name: &str);
    /// Gives a file another name. A file that had it is gone.
    fn rename(&mut self, from: &str, to: &str);
    /// Returns when the names of the folder are on the disk.
    fn sync_folder(&mut self);
}

/// Replaces a file.
pub fn replace(disk: &mut dyn Disk, name: &str, bytes: &[u8]) {
    let partial = format!(".{name}.partial");
    disk.create(&partial);
    disk.write(&partial, bytes);
    // Before the name is changed: a name may reach the disk before the bytes do.
    disk.sync(&partial);
    disk.rename(&partial, name);
    disk.sync_folder();
}
