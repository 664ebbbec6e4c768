// Placed before the kernels that do each channel alike: here an invocation has four neighbouring channels, which
// are loaded at once. It has four times the bytes under way, and works out their place in the image once.

alias Lanes = vec4<f32>;
alias Indices = vec4<u32>;
alias Mask = vec4<bool>;

/// Channels of an invocation.
const WIDTH = 4u;
/// Their places among each other.
const LANES = vec4<u32>(0u, 1u, 2u, 3u);

/// The bits that any channel has.
fn merged(bits: Indices) -> u32 {
    return bits.x | bits.y | bits.z | bits.w;
}
