// Gradient of a convolution's bias: partials[s,co] = sum over the pixels of split s of dy[n,oy,ox,co].
// A workgroup sums one split for 16 channels: 16 invocations per channel take every 16th pixel, and
// their sums are added in a fixed order.

struct Params {
    pixels: u32,           // N·H_out·W_out
    c_out: u32,
    pixels_per_split: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<Stored>;           // [N, H_out, W_out, C_out]
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;  // [S, C_out]

var<workgroup> sums: array<f32, 256>;  // [16 pixels, 16 channels]

@compute @workgroup_size(256)
fn grad_bias(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let blocks = (params.c_out + 15u) / 16u;
    let number = flat_group(group, groups);
    let split = number / blocks;
    let co = number % blocks * 16u + local % 16u;
    let end = min((split + 1u) * params.pixels_per_split, params.pixels);
    var total = 0.0;
    if (co < params.c_out) {
        for (var p = split * params.pixels_per_split + local / 16u; p < end; p += 16u) {
            total += f32(dy[p * params.c_out + co]);
        }
    }
    sums[local] = total;
    workgroupBarrier();
    if (local < 16u && co < params.c_out && split * params.pixels_per_split < params.pixels) {
        for (var i = 1u; i < 16u; i++) {
            total += sums[i * 16u + local];
        }
        partials[split * params.c_out + co] = total;
    }
}
