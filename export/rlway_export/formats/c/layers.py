"""The layers of a network: matrix products, convolutions, pooling.

In:      an operation, the body that it is written into.
Out:     loops, the innermost over a layer's outputs: these are contiguous, so that compilers vectorise it.
Refuses: values that are no real numbers, convolutions whose weights are computed, groups, images of other than two
         dimensions (ExportRefused).

Images lie in memory as height × width × channels, whatever the order of ONNX's axes. Then a window's rows are
contiguous, and the channels of a pixel can be summed side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from rlway_client.contract.specs import AnyArray
from rlway_export.formats.c.body import Body, refusal
from rlway_export.formats.c.formulas import REAL
from rlway_export.formats.c.network import Operation
from rlway_export.formats.c.views import View, block, loop, sum_of, times

AT_ONCE = 4  # inputs that are added to a sum each time it is read and written
CHANNELS_LAST = (0, 2, 3, 1)
IMAGES = ("float32",)


def matmul(operation: Operation, body: Body) -> None:
    """A row, or several, times constant weights; or two matrices that are computed."""
    weights = body.network.constants.get(operation.inputs[1])
    if weights is not None and weights.ndim == 2:
        _dense(operation, body, weights)
    else:
        _product(operation, body)


def _product(operation: Operation, body: Body) -> None:
    """Products of any matrices, one for each place of the axes before."""
    _real(operation, body)
    left, right = map(body.view, operation.inputs)
    if len(left.shape) == 1:
        left = left._replace(shape=(1, *left.shape), strides=(0, *left.strides))
    if len(right.shape) == 1:
        right = right._replace(shape=(*right.shape, 1), strides=(*right.strides, 0))
    (n, k), m = left.shape[-2:], right.shape[-1]
    outer = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    result = View.whole(body.make(operation.outputs[0]).array, (*outer, n, m))
    body.each([result], lambda to: f"{to} = 0;")
    wide = (*outer, n, m, k)
    target = result._replace(shape=wide, strides=(*result.strides, 0))
    a, b = left.broadcast((*outer, n, k)), right.broadcast((*outer, k, m))
    a = a._replace(shape=wide, strides=(*a.strides[:-1], 0, a.strides[-1]))
    b = b._replace(shape=wide, strides=(*b.strides[:-2], 0, b.strides[-1], b.strides[-2]))
    body.each([target, a, b], lambda to, x, y: f"{to} += {x} * {y};")


def gemm(operation: Operation, body: Body) -> None:
    """A matrix product plus a bias."""
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    if any(operation.attributes.get(name, value) != value for name, value in plain.items()):
        raise refusal(operation, "factors or transposed inputs")
    weights = body.constant(operation.inputs[1], operation)
    _dense(operation, body, weights.T if operation.attributes.get("transB", 0) else weights)


def _dense(operation: Operation, body: Body, weights: AnyArray) -> None:
    name, out = operation.inputs[0], operation.outputs[0]
    n = body.network.shapes[name][-1]
    if weights.ndim != 2 or weights.shape[0] != n:
        raise refusal(operation, f"weights of {list(weights.shape)} for {n} inputs")
    kind = _real(operation, body)
    x, m = body.row_major(name), weights.shape[1]
    bias = _bias(operation, body, (x.size // n, m))
    result, kernel = body.make(out), body.add_constant(np.ascontiguousarray(weights))
    rows = x.size // n
    r = "r" if rows > 1 else ""  # usually there is one row
    lines = [
        f"const {kind} *x = {sum_of(x.array, x.offset, r and times(r, n))};",
        f"{kind} *y = {sum_of(result.array, r and times(r, m))};",
        *loop("j", m, [f"y[j] = {bias(r)};"]),
        *_sum_up("x", kernel, n, m),
    ]
    body.lines += loop("r", rows, lines) if r else block(lines)


def conv(operation: Operation, body: Body) -> None:
    """A window over an image, for every pixel of the result."""
    name, out = operation.inputs[0], operation.outputs[0]
    weights = body.constant(operation.inputs[1], operation)
    if weights.ndim != 4 or operation.attributes.get("group", 1) != 1:
        raise refusal(operation, f"weights of {list(weights.shape)} in {operation.attributes.get('group', 1)} groups")
    _real(operation, body, IMAGES)
    m, channels = weights.shape[:2]
    x, window = _image(name, body), _window(operation, body, weights.shape[2:])
    bias = _bias(operation, body, (1, m))
    result = body.make(out, order=CHANNELS_LAST)
    kernel = body.add_constant(np.ascontiguousarray(weights.transpose(2, 3, 1, 0)))  # height, width, in, out
    if window.rows_are_contiguous:
        n = window.width.kernel * channels
        products = window.down([f"const float *w = {kernel} + k * {n * m};", *_sum_up("x", "w", n, m)], x, channels)
    else:
        place = f"(k * {window.width.kernel} + l) * {channels * m}"
        products = window.over([f"const float *w = {kernel} + {place};", *_sum_up("x", "w", channels, m)], x, channels)
    body.lines += window.pixels(result, m, [*loop("j", m, [f"y[j] = {bias('')};"]), *products])


def maxpool(operation: Operation, body: Body) -> None:
    """The largest in a window, channel by channel."""
    if len(operation.outputs) > 1 or len(body.network.shapes[operation.inputs[0]]) != 4:
        raise refusal(operation, "places of the largest, or other than two dimensions")
    _real(operation, body, IMAGES)
    channels = body.network.shapes[operation.inputs[0]][1]
    x = _image(operation.inputs[0], body)
    window = _window(operation, body, operation.attributes["kernel_shape"])
    result = body.make(operation.outputs[0], order=CHANNELS_LAST)
    larger = loop("j", channels, ["y[j] = x[j] < y[j] ? y[j] : x[j];"])
    lines = [*loop("j", channels, ["y[j] = -INFINITY;"]), *window.over(larger, x, channels)]
    body.lines += window.pixels(result, channels, lines)


class Side(NamedTuple):
    """A window along one side of the image."""

    image: int
    result: int
    kernel: int
    step: int
    dilation: int
    before: int  # pixels of padding

    @property
    def stays_inside(self) -> bool:
        last = (self.result - 1) * self.step + (self.kernel - 1) * self.dilation - self.before
        return self.before == 0 and last < self.image

    def place(self, pixel: str, offset: str) -> str:
        """The position of the window's element in the image."""
        inside = sum_of(times(pixel, self.step), times(offset, self.dilation))
        return f"{inside} - {self.before}" if self.before else inside


class Window(NamedTuple):
    """A window over an image: loops p and q run over the result's pixels, k and l over the window's."""

    height: Side
    width: Side

    @property
    def rows_are_contiguous(self) -> bool:
        """Whether a row of the window is contiguous in memory."""
        return self.width.stays_inside and self.width.dilation == 1

    def pixels(self, result: View, channels: int, lines: list[str]) -> list[str]:
        """The lines for every pixel of the result, `y`."""
        y = f"float *y = {result.array} + (p * {self.width.result} + q) * {channels};"
        return loop("p", self.height.result, loop("q", self.width.result, [y, *lines]))

    def down(self, lines: list[str], image: View, channels: int) -> list[str]:
        """The lines for every row of the window, which begins at `x`."""
        start = f"(row * {self.width.image} + {times('q', self.width.step)}) * {channels}"
        return self._rows([f"const float *x = {sum_of(image.array, image.offset, start)};", *lines])

    def over(self, lines: list[str], image: View, channels: int) -> list[str]:
        """The lines for every pixel of the window that is within the image, `x`."""
        start = f"(row * {self.width.image} + column) * {channels}"
        x = f"const float *x = {sum_of(image.array, image.offset, start)};"
        place = [f"int column = {self.width.place('q', 'l')};", *_skip("column", self.width)]
        return self._rows(loop("l", self.width.kernel, [*place, x, *lines]))

    def _rows(self, lines: list[str]) -> list[str]:
        place = [f"int row = {self.height.place('p', 'k')};", *_skip("row", self.height)]
        return loop("k", self.height.kernel, [*place, *lines])


def _window(operation: Operation, body: Body, kernel: Sequence[int]) -> Window:
    image, result = (body.network.shapes[name][2:] for name in (operation.inputs[0], operation.outputs[0]))
    steps = operation.attributes.get("strides", [1, 1])
    dilations = operation.attributes.get("dilations", [1, 1])
    padding = operation.attributes.get("auto_pad", b"NOTSET").decode()
    before = operation.attributes.get("pads", [0, 0])[:2] if padding == "NOTSET" else [0, 0]
    sides = [Side(*side) for side in zip(image, result, kernel, steps, dilations, before, strict=True)]
    if padding.startswith("SAME"):
        for i, side in enumerate(sides):
            missing = max(0, (side.result - 1) * side.step + (side.kernel - 1) * side.dilation + 1 - side.image)
            sides[i] = side._replace(before=(missing + (padding == "SAME_LOWER")) // 2)
    return Window(*sides)


def _skip(index: str, side: Side) -> list[str]:
    """Pixels outside of the image add nothing."""
    if side.stays_inside:
        return []
    return [f"if ({index} < 0 || {index} >= {side.image}) {{", "    continue;", "}"]


def _image(name: str, body: Body) -> View:
    """The image with its channels last in memory, copied if necessary."""
    view = body.view(name).transpose(CHANNELS_LAST)
    return view if view.is_row_major else body.copy(view, body.scratch("float", view.shape))


def _real(operation: Operation, body: Body, allowed: Collection[str] = REAL) -> str:
    """C's type of the values, which have to be real numbers."""
    dtype = body.network.dtypes[operation.inputs[0]]
    if dtype not in allowed:
        raise refusal(operation, f"values of {dtype}")
    return body.type_of(operation.inputs[0])


def _bias(operation: Operation, body: Body, shape: tuple[int, int]) -> Callable[[str], str]:
    """C expressions for the initial value of a row's sums, by the row's index."""
    if len(operation.inputs) < 3 or not operation.inputs[2]:
        return lambda _: "0.0f"
    bias = body.view(operation.inputs[2]).broadcast(shape)
    return lambda row: f"{bias.array}[{bias.position((row, 'j'))}]"


def _sum_up(x: str, weights: str, n: int, m: int) -> list[str]:
    """`y[j] += x[i] * weights[i][j]` over `n` inputs and `m` outputs."""

    def products(first: str, start: int, count: int) -> list[str]:
        terms = []
        for k in range(start, start + count):
            weight = sum_of(first and times(first, m), k * m, "j")
            terms.append(f"{x}[{sum_of(first, k)}] * {weights}[{weight}]")
        first_term, *others = terms
        lines = [f"y[j] += {first_term}", *(f"    + {term}" for term in others)]
        return loop("j", m, [*lines[:-1], f"{lines[-1]};"])

    rest = n % AT_ONCE
    lines = loop("i", n - rest, products("i", 0, AT_ONCE), AT_ONCE) if n > rest else []
    return lines + (products("", n - rest, rest) if rest else [])
