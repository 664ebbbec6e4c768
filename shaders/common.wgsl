// Placed before every plain shader: recovering flat numbers from a folded dispatch.
// A dispatch of more than 65,535 workgroups is folded into x and y by the host.

/// The number of this workgroup as if the dispatch had one dimension.
fn flat_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

/// The number of this invocation in a kernel of 256 invocations per workgroup.
fn flat_element(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
    return flat_group(group, groups) * 256u + local;
}
