// What BatchNorm and its gradient do to every element. `norm` has the rows scale, shift, mean and rstd. Channels
// are counted in Lanes.

struct Params {
    count: u32,   // Lanes
    c: u32,
    share: f32,   // 1 / (N·H·W) in training, else 0; read by grad_input only
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;         // [N, H, W, C]

// y = (x − mean)·rstd·gamma + beta.
@group(0) @binding(2) var<storage, read> norm: array<Lanes>;       // [4, C]
@group(0) @binding(3) var<storage, read> gamma: array<Lanes>;      // [C]
@group(0) @binding(4) var<storage, read> beta: array<Lanes>;       // [C]
@group(0) @binding(5) var<storage, read_write> y: array<Stored>;   // [N, H, W, C]

@compute @workgroup_size(256)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i >= params.count) {
        return;
    }
    let ch = i % params.c;
    let scale = norm[3u * params.c + ch] * gamma[ch];
    y[i] = to_stored((Lanes(x[i]) - norm[2u * params.c + ch]) * scale + beta[ch]);
}

// dx = scale · (dy − dbeta·share − x̂·dgamma·share), x̂ = (x − mean)·rstd, plus the gradient `skip` of another
// reader of x.
@group(0) @binding(2) var<storage, read> dy: array<Stored>;            // [N, H, W, C]
@group(0) @binding(3) var<storage, read> grad_norm: array<Lanes>;      // [4, C]
@group(0) @binding(4) var<storage, read> dbeta: array<Lanes>;          // [C]
@group(0) @binding(5) var<storage, read> dgamma: array<Lanes>;         // [C]
@group(0) @binding(6) var<storage, read_write> dx: array<Stored>;      // [N, H, W, C]
@group(0) @binding(6) var<storage, read> skip: array<Stored>;          // [N, H, W, C]
@group(0) @binding(7) var<storage, read_write> dx_sum: array<Stored>;  // [N, H, W, C]

fn grad_element(i: u32) -> Lanes {
    let ch = i % params.c;
    let xhat = (Lanes(x[i]) - grad_norm[2u * params.c + ch]) * grad_norm[3u * params.c + ch];
    let batch = (dbeta[ch] + xhat * dgamma[ch]) * params.share;
    return grad_norm[ch] * (Lanes(dy[i]) - batch);
}

@compute @workgroup_size(256)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i < params.count) {
        dx[i] = to_stored(grad_element(i));
    }
}

@compute @workgroup_size(256)
fn grad_input_add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i < params.count) {
        dx_sum[i] = to_stored(grad_element(i) + Lanes(skip[i]));
    }
}
