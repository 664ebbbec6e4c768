{#- The inner product: what an invocation owns of C, a block of k added to it, and C once all of k is summed. #}

{#- Where an invocation is in its workgroup beside `local`, for subgroups. #}
{% macro subgroup_inputs() %}
    {%- if coop and not coop.emulated %}
    @builtin(subgroup_id) number_in_group: u32,
    @builtin(num_subgroups) subgroups: u32,
    {%- endif %}
{%- endmacro %}

{#- The invocation's place in the tile, its columns and its part of C. #}
{% macro start() %}
    let tile_row = local / {{ across }}u;
    let tile_col = local % {{ across }}u;
    {%- for j in [0, 1] %}
    let col_{{ j }} = col0 + tile_col * 4u + {{ j * tile.columns_apart }}u;
    {%- endfor %}
    {%- for i in rows %}
    var c{{ i.index }}_0 = vec4<f32>();
    var c{{ i.index }}_1 = vec4<f32>();
    {%- endfor %}
    {%- if coop %}
    {%- if coop.emulated %}
    let subgroups = {{ coop.subgroups }}u;
    let number_in_group = local / {{ coop.subgroup }}u;
    lane = local % {{ coop.subgroup }}u;
    one = min(params.n, 1u);
    {%- endif %}
    // The first of the squares that this subgroup owns, {{ coop.down * coop.size }} rows and {{ coop.across * coop.size }} columns apart.
    let subgroup = min(number_in_group, {{ coop.subgroups - 1 }}u);
    let square_row = subgroup / {{ coop.across }}u * {{ coop.size }}u;
    let square_col = subgroup % {{ coop.across }}u * {{ coop.size }}u;
    {%- for i in coop.rows %}
    {%- for j in coop.columns %}
    var square_{{ i }}_{{ j }}: SquareC;
    {%- endfor %}
    {%- endfor %}
    {%- endif %}
{%- endmacro %}

{#- Adds the product of the block of k that the body of the call loads into the tiles. #}
{% macro multiply() %}
        {{- caller() }}
        workgroupBarrier();
        {%- if coop %}
        {%- for k in coop.steps %}
        {
            {%- for j in coop.columns %}
            let b{{ j }} = load_b((square_col + {{ j * coop.across * coop.size }}u) * LINE + {{ k }}u);
            {%- endfor %}
            {%- for i in coop.rows %}
            let a{{ i }} = load_a((square_row + {{ i * coop.down * coop.size }}u) * LINE + {{ k }}u);
            {%- for j in coop.columns %}
            square_{{ i }}_{{ j }} = multiply_add(a{{ i }}, b{{ j }}, square_{{ i }}_{{ j }});
            {%- endfor %}
            {%- endfor %}
        }
        {%- endfor %}
        {%- else %}
        for (var q = 0u; q < 4u; q++) {
            let from_a = q * {{ 4 * groups_a }}u + (tile_row ^ (2u * q));
            let from_b = q * {{ 4 * groups_b }}u + (tile_col ^ (2u * q));
            {%- for part in four %}
            {
                {%- for g in row_groups %}
                let a{{ g }} = tile_a[from_a + {{ part.index * groups_a + g * (tile.rows_apart // 4) }}u];
                {%- endfor %}
                let b0 = tile_b[from_b + {{ part.index * groups_b }}u];
                let b1 = tile_b[from_b + {{ part.index * groups_b + tile.columns_apart // 4 }}u];
                {%- for i in rows %}
                c{{ i.index }}_0 = fma(vec4<f32>(a{{ i.group }}.{{ i.part }}), b0, c{{ i.index }}_0);
                c{{ i.index }}_1 = fma(vec4<f32>(a{{ i.group }}.{{ i.part }}), b1, c{{ i.index }}_1);
                {%- endfor %}
            }
            {%- endfor %}
        }
        {%- endif %}
        workgroupBarrier();
{%- endmacro %}

{#- Hands the squares over to the invocations that own their elements, a part of C at a time. #}
{% macro finish() %}
    {%- if coop %}
    // Subgroups of another size than the kernel was made for did not multiply everything.
    let missed = bitcast<f32>(select(0u, 0x7fc00000u, subgroups != {{ coop.subgroups }}u));
    {%- for part in coop.parts %}
    {%- for square in part.squares %}
    store_c(square_{{ square.row }}_{{ square.column }}, (square_row + {{ square.down }}u) * LINE_C + square_col + {{ square.right }}u);
    {%- endfor %}
    workgroupBarrier();
    {%- for i in rows if i.group == part.group %}
    c{{ i.index }}_{{ part.half }} = missed + four_sums((tile_row * 4u + {{ i.index % 4 }}u) * LINE_C + tile_col * 4u);
    {%- endfor %}
    workgroupBarrier();
    {%- endfor %}
    {%- endif %}
{%- endmacro %}
