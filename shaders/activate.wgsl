// BatchNorm, the sum with a shortcut, and ReLU: y = max(x·scale + shift + s, 0), where s is 0, skip, or
// skip·scale + shift with the shortcut's own norm, itself with or without ReLU. Channels are counted in Lanes.

struct Params {
    count: u32,      // Lanes
    c: u32,
    rectified: u32,  // 1 where the shortcut goes through ReLU; read by activate_add_norm only
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;        // [N, H, W, C]
@group(0) @binding(2) var<storage, read> norm: array<Lanes>;      // [4, C]: scale, shift, mean, rstd

/// Unlike max(), the comparison lets a NaN through, so that it is noticed.
fn relu(z: Lanes) -> Lanes {
    return select(z, Lanes(0.0), z < Lanes(0.0));
}

fn normalised(i: u32) -> Lanes {
    let ch = i % params.c;
    return Lanes(x[i]) * norm[ch] + norm[params.c + ch];
}

@group(0) @binding(3) var<storage, read_write> y: array<Stored>;  // [N, H, W, C]

@compute @workgroup_size(256)
fn activate(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i < params.count) {
        y[i] = to_stored(relu(normalised(i)));
    }
}

@group(0) @binding(3) var<storage, read> skip: array<Stored>;       // [N, H, W, C]
@group(0) @binding(4) var<storage, read_write> y_add: array<Stored>;  // [N, H, W, C]

@compute @workgroup_size(256)
fn activate_add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i < params.count) {
        y_add[i] = to_stored(relu(normalised(i) + Lanes(skip[i])));
    }
}

@group(0) @binding(4) var<storage, read> skip_norm: array<Lanes>;        // [4, C]
@group(0) @binding(5) var<storage, read_write> y_add_norm: array<Stored>;  // [N, H, W, C]

@compute @workgroup_size(256)
fn activate_add_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i < params.count) {
        let ch = i % params.c;
        var s = Lanes(skip[i]) * skip_norm[ch] + skip_norm[params.c + ch];
        if (params.rectified == 1u) {
            s = relu(s);
        }
        y_add_norm[i] = to_stored(relu(normalised(i) + s));
    }
}
