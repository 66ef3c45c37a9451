"""Source text of the matrix products of a kernel: edges × weights, in registers, with packed weights.

A product C (+)= A B takes blocks of edges times a panel of one to three registers of columns; the block's sums stay in
registers while B's panel is read in order. Rows are rounded up to a whole block: buffers have room for it.
"""

from __future__ import annotations

from plugins.equivariant.kernel.plan import Matrix, panels


def block_rows(panel: int, registers: int) -> int:
    """Edges for one pass: sums, one row of weights and one broadcast must fit into the registers."""
    return max((registers - panel - 2) // panel, 1) if panel > 1 else min(registers // 2, 12)


def functions(lanes: int, registers: int) -> str:
    """panel1, panel2, panel3: C[rows, panel] (+)= A[rows, depth] B[depth, panel], all offsets into flat arrays."""
    text = []
    for n in (1, 2, 3):
        rows = block_rows(n, registers)
        sums = [(i, j) for i in range(rows) for j in range(n)]
        text += [f"@compiled\ndef panel{n}(w, a, lda, data, b, depth, c, ldc, rows, add):",
                 f"    for r in range(0, rows, {rows}):"]
        text += [f"        a{i} = a + (r + {i}) * lda" for i in range(rows)]
        text += [f"        c{i} = c + (r + {i}) * ldc" for i in range(rows)]
        text += ["        if add:"]
        text += [f"            s{i}_{j} = load(w, c{i} + {j * lanes}, {lanes})" for i, j in sums]
        text += ["        else:"]
        text += [f"            s{i}_{j} = ZERO()" for i, j in sums]
        text += ["        for k in range(depth):"]
        text += [f"            b{j} = load(data, b + k * {n * lanes} + {j * lanes}, {lanes})" for j in range(n)]
        for i in range(rows):
            text.append(f"            x = splat(item(w, a{i} + k), {lanes})")
            text += [f"            s{i}_{j} = fused(x, b{j}, s{i}_{j})" for j in range(n)]
        text += [f"        store(w, c{i} + {j * lanes}, s{i}_{j})" for i, j in sums]
        text.append("")
    return "\n".join(text)


def call(matrix: Matrix, lanes, source, source_width, target, target_width, add, rows="n") -> list[str]:
    """Lines that multiply buffer `source` by `matrix` into `target`; both are offset expressions."""
    lines, column, start = [], 0, matrix.start
    for n in panels(matrix.columns // lanes):
        lines.append(f"panel{n}(w, {source}, {source_width}, data, {start}, {matrix.rows}, "
                     f"{target} + {column}, {target_width}, {rows}, {bool(add)})")
        column += n * lanes
        start += matrix.rows * n * lanes
    return lines
