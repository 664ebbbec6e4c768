//! Whether this processor has units that multiply bfloat16 numbers, and the system lets this process use them.

/// Whether the processor has AMX with bfloat16 and the kernel lets this process use it.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub fn amx() -> bool {
    use std::arch::x86_64::__cpuid_count;
    static AVAILABLE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        // Leaf 7, EDX: bit 22 is AMX-BF16, bit 24 AMX-TILE.
        const BITS: u32 = 1 << 22 | 1 << 24;
        if __cpuid_count(0, 0).eax < 7 || __cpuid_count(7, 0).edx & BITS != BITS {
            return false;
        }
        const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_ulong = 18;
        // SAFETY: the call asks for a permission and touches no memory of ours.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_arch_prctl,
                ARCH_REQ_XCOMP_PERM,
                XFEATURE_XTILEDATA,
            )
        };
        answer == 0
    })
}

/// There is no AMX here.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub fn amx() -> bool {
    false
}

/// Whether the processor has AVX-512's dot products of bfloat16 pairs, and its 16-bit shuffles.
#[cfg(target_arch = "x86_64")]
pub fn avx512_bf16() -> bool {
    is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw")
}

/// There is no AVX-512 here.
#[cfg(not(target_arch = "x86_64"))]
pub fn avx512_bf16() -> bool {
    false
}
