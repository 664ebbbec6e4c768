// Global average pooling: y = Σ x / (H·W) over the pixels of a channel.

struct Params {
    count: u32,   // elements of y (forward) or dx (grad_input)
    pixels: u32,  // H·W
    c: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;         // [N, H, W, C]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;   // [N, 1, 1, C]

@compute @workgroup_size(256)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let o = flat_element(group, groups, local);
    if (o >= params.count) {
        return;
    }
    let first = (o / params.c) * params.pixels * params.c + o % params.c;
    var total = 0.0;
    for (var i = 0u; i < params.pixels; i++) {
        total += x[first + i * params.c];
    }
    y[o] = total / f32(params.pixels);
}

// dx = dy / (H·W).
@group(0) @binding(1) var<storage, read> dy: array<f32>;         // [N, 1, 1, C]
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;   // [N, H, W, C]

@compute @workgroup_size(256)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i >= params.count) {
        return;
    }
    let n = i / (params.c * params.pixels);
    dx[i] = dy[n * params.c + i % params.c] / f32(params.pixels);
}
