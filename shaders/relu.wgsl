// ReLU: y = max(x, 0);  dx = dy where y > 0, else 0.

struct Params {
    count: u32, // elements
}

@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> x: array<Stored>;     // [N, H, W, C]
@group(0) @binding(2) var<storage, read_write> y: array<Stored>;  // [N, H, W, C]

@compute @workgroup_size(256)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i < params.count) {
        // Unlike max(), the comparison lets a NaN through, so that it is noticed.
        let value = f32(x[i]);
        y[i] = to_stored(select(value, 0.0, value < 0.0));
    }
}

@group(0) @binding(1) var<storage, read> out: array<Stored>;    // [N, H, W, C], the forward's y
@group(0) @binding(2) var<storage, read> dy: array<Stored>;     // [N, H, W, C]
@group(0) @binding(3) var<storage, read_write> dx: array<Stored>;  // [N, H, W, C]

@compute @workgroup_size(256)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i < params.count) {
        // As bits, positive numbers are 1 up to infinity's pattern. A comparison of floats would take the
        // smallest for 0 on the devices that flush them.
        let bits = bitcast<u32>(f32(out[i]));
        dx[i] = to_stored(select(0.0, f32(dy[i]), bits > 0u && bits <= 0x7f800000u));
    }
}
