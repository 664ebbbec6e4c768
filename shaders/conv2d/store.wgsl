{#- Reads and writes the columns of C that an invocation owns; its group `j` begins at `col_j`. #}

{#- Reads the columns j of this invocation, of `width`, from a buffer's element `first` on, into `name`. #}
{% macro load_columns(name, buffer, first, width, j) %}
            var {{ name }} = vec4<f32>();
            {%- for lane in lanes %}
            if (col_{{ j }} + {{ lane.index }}u < {{ width }}) {
                {{ name }}{{ lane.part }} = Element({{ buffer }}[({{ first }} + col_{{ j }} + {{ lane.index }}u) / LANES]);
            }
            {%- endfor %}
{%- endmacro %}

{#- Writes `value`, the columns j of this invocation, made by `as`, to a buffer from element `first` on. #}
{% macro store(value, buffer, first, width, j, as="Element") %}
            {%- for lane in lanes %}
            if (col_{{ j }} + {{ lane.index }}u < {{ width }}) {
                {{ buffer }}[({{ first }} + col_{{ j }} + {{ lane.index }}u) / LANES] = {{ as }}({{ value }}{{ lane.part }});
            }
            {%- endfor %}
{%- endmacro %}
