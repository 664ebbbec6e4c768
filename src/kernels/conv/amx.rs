//! Intel's Advanced Matrix Extensions, by inline assembly as stable Rust has no intrinsics for them: eight tiles of
//! 16 rows of 64 bytes, and an instruction that multiplies two of them and adds to a third.
use super::block::Bf16Pairs;
use crate::kernels::detect;
use std::marker::PhantomData;

/// Rows that a tile has.
pub const TILE: usize = 16;

/// The tiles of the calling thread, to be used while this lives; it stays on its thread.
pub struct Tiles(PhantomData<*const ()>);

impl Tiles {
    /// Gives every tile 16 rows of 64 bytes.
    pub fn configure() -> Tiles {
        assert!(detect::amx(), "asked for only where AMX is there");
        imp::configure();
        Tiles(PhantomData)
    }

    /// Rows `first..first + 16` of [`super::micro_bf16::Multiplier::multiply`], or `first..first + 32` if `TWO`.
    pub fn multiply_rows<const TWO: bool>(
        &self,
        pairs: &Bf16Pairs,
        stride: usize,
        first: usize,
        c: &mut [f32],
        accumulate: bool,
    ) {
        imp::multiply_rows::<TWO>(pairs, stride, first, c, accumulate);
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // Tiles in use make every switch between threads save 8 KB more.
        imp::release();
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod imp {
    use super::TILE;
    use crate::kernels::conv::block::Bf16Pairs;
    use crate::kernels::conv::block::{BLOCK, SQUARE};
    use std::arch::asm;

    /// What LDTILECFG reads: palette 1, then for each tile its bytes per row and its rows.
    #[repr(C, align(64))]
    struct Config {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        bytes_per_row: [u16; 16],
        rows: [u8; 16],
    }

    pub fn configure() {
        let mut config = Config {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            bytes_per_row: [0; 16],
            rows: [0; 16],
        };
        config.bytes_per_row[..8].fill(64);
        config.rows[..8].fill(TILE as u8);
        // SAFETY: AMX is there, as `Tiles::configure` checked, and the instruction reads 64 bytes.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly));
        }
    }

    pub fn release() {
        // SAFETY: AMX is there; nobody else uses this thread's tiles.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }

    /// Tiles 0 to 3 are sums, of two times 16 rows by two times 16 columns; 4 and 5 rows of a, 6 and 7 columns of b.
    pub fn multiply_rows<const TWO: bool>(
        pairs: &Bf16Pairs,
        stride: usize,
        first: usize,
        c: &mut [f32],
        accumulate: bool,
    ) {
        let rows = if TWO { 2 * TILE } else { TILE };
        let c = c[first * BLOCK..(first + rows) * BLOCK].as_mut_ptr();
        for (a, b) in pairs {
            assert!(a.len() >= (first + rows - 1) * stride + BLOCK && b.len() >= SQUARE);
        }
        let below = TILE * BLOCK;
        // SAFETY: the tiles are configured, as only a method of `Tiles` calls this; c has `rows` rows of 32 numbers, and every a
        // and b is as long as asserted. A tile reads or writes 16 rows of 64 bytes, the given bytes apart. The
        // compiler knows no tiles, so they keep their contents between the blocks.
        unsafe {
            if accumulate {
                asm!(
                    "tileloadd tmm0, [{c} + {s}]", "tileloadd tmm1, [{c} + {s} + 64]",
                    c = in(reg) c, s = in(reg) 4 * BLOCK, options(nostack)
                );
            } else {
                asm!("tilezero tmm0", "tilezero tmm1", options(nostack, nomem));
            }
            if TWO && accumulate {
                asm!(
                    "tileloadd tmm2, [{c} + {s}]", "tileloadd tmm3, [{c} + {s} + 64]",
                    c = in(reg) c.add(below), s = in(reg) 4 * BLOCK, options(nostack)
                );
            } else if TWO {
                asm!("tilezero tmm2", "tilezero tmm3", options(nostack, nomem));
            }
            for (a, b) in pairs {
                let a = a.as_ptr().add(first * stride);
                asm!(
                    "tileloadd tmm4, [{a} + {s}]",
                    "tileloadd tmm6, [{b} + {t}]",
                    "tileloadd tmm7, [{b} + {t} + 1024]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    a = in(reg) a, b = in(reg) b.as_ptr(), s = in(reg) 2 * stride, t = in(reg) 64_usize,
                    options(nostack)
                );
                if TWO {
                    asm!(
                        "tileloadd tmm5, [{a} + {s}]",
                        "tdpbf16ps tmm2, tmm5, tmm6",
                        "tdpbf16ps tmm3, tmm5, tmm7",
                        a = in(reg) a.add(TILE * stride), s = in(reg) 2 * stride, options(nostack)
                    );
                }
            }
            asm!(
                "tilestored [{c} + {s}], tmm0", "tilestored [{c} + {s} + 64], tmm1",
                c = in(reg) c, s = in(reg) 4 * BLOCK, options(nostack)
            );
            if TWO {
                asm!(
                    "tilestored [{c} + {s}], tmm2", "tilestored [{c} + {s} + 64], tmm3",
                    c = in(reg) c.add(below), s = in(reg) 4 * BLOCK, options(nostack)
                );
            }
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod imp {
    use crate::kernels::conv::block::Bf16Pairs;

    pub fn configure() {}

    pub fn release() {}

    pub fn multiply_rows<const TWO: bool>(
        _: &Bf16Pairs,
        _: usize,
        _: usize,
        _: &mut [f32],
        _: bool,
    ) {
        unreachable!("there is no AMX here");
    }
}
