//! Memory for one tensor or one slot of the pool: zeroed pages straight from the operating system.
use anyhow::{Context, Result};
use memmap2::MmapMut;

/// Bytes, aligned to a page. The default has none.
#[derive(Default)]
pub struct Buffer {
    map: Option<MmapMut>,
    bytes: usize,
}

impl Buffer {
    /// Zeros; the operating system hands out the pages at their first use.
    ///
    /// # Errors
    /// When it refuses.
    pub fn zeroed(bytes: usize) -> Result<Buffer> {
        // An empty mapping is not allowed.
        let map =
            MmapMut::map_anon(bytes.max(1)).with_context(|| format!("allocating {bytes} bytes"))?;
        // Large tensors profit from large pages, whose addresses a core need not look up as often. Where the kernel
        // has none to give, the advice fails and small ones do.
        #[cfg(target_os = "linux")]
        drop(map.advise(memmap2::Advice::HugePage));
        Ok(Buffer {
            map: Some(map),
            bytes,
        })
    }

    /// The contents.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_ref().map_or(&[], |map| &map[..self.bytes])
    }

    /// The contents, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.map
            .as_mut()
            .map_or(&mut [], |map| &mut map[..self.bytes])
    }
}
