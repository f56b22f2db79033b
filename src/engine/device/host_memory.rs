//! Memory of the host, as Linux reports it.

/// Bytes of the host's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostMemory {
    /// Bytes that programs can still take, swap space included.
    pub free_bytes: u64,
    /// Bytes that are there, swap space included.
    pub total_bytes: u64,
}

impl HostMemory {
    /// Reads the present state; none where the system does not report it.
    pub fn read() -> Option<HostMemory> {
        HostMemory::parse(&std::fs::read_to_string("/proc/meminfo").ok()?)
    }

    /// Reads the text of `/proc/meminfo`.
    fn parse(text: &str) -> Option<HostMemory> {
        let bytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
        };
        let swap = |name| bytes(name).unwrap_or(0);
        Some(HostMemory {
            free_bytes: bytes("MemAvailable")? + swap("SwapFree"),
            total_bytes: bytes("MemTotal")? + swap("SwapTotal"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_swap_count_together() {
        let text =
            "MemTotal:       24680 kB\nMemFree: 1 kB\nMemAvailable:   12340 kB\nSwapTotal: 100 kB\nSwapFree:  60 kB\n";
        let expected = HostMemory { free_bytes: 12400 << 10, total_bytes: 24780 << 10 };
        assert_eq!(HostMemory::parse(text), Some(expected));
        assert_eq!(HostMemory::parse("MemTotal: 24680 kB\n"), None);
    }
}
