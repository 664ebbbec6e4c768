// Placed before the kernels that do each channel alike: here an invocation has one channel.

alias Lanes = f32;
alias Indices = u32;
alias Mask = bool;

/// Channels of an invocation.
const WIDTH = 1u;
/// Their places among each other.
const LANES = 0u;

/// The bits that any channel has.
fn merged(bits: Indices) -> u32 {
    return bits;
}
