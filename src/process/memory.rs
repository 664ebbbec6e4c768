//! Whether memory is to be had. An allocation that fails elsewhere ends the process without a word, so what takes much
//! asks here first.
use anyhow::{Result, bail};

/// Refuses when so many bytes cannot be taken now.
///
/// # Errors
/// When the system, or a limit of this process, refuses them.
pub fn ensure_free(bytes: u64, purpose: &str) -> Result<()> {
    let mut room = Vec::<u8>::new();
    let fits = usize::try_from(bytes).is_ok_and(|bytes| room.try_reserve_exact(bytes).is_ok());
    // An allocation that nobody looks at would be left out.
    std::hint::black_box(&room);
    if !fits {
        bail!(
            "out of memory: {purpose} would take {} more, which the system or a limit of this process (ulimit -v) \
             refuses",
            mib(bytes)
        );
    }
    Ok(())
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_to_be_had_is_refused() {
        assert!(ensure_free(1 << 20, "a test").is_ok());
        for bytes in [1 << 62, u64::MAX] {
            let error = ensure_free(bytes, "a test").unwrap_err().to_string();
            assert!(
                error.contains("out of memory: a test would take"),
                "{error}"
            );
        }
    }
}
