"""LSTM, Lstm and RNN, step by step; CTCGreedyDecoder."""

from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.verify.reference.registry import formula
from geometry.arrays import F64


@formula("LSTM")
def lstm(layer: Layer, bottoms: Sequence[F64]) -> list[F64]:
    """States c = f·c + i·g, h = o·tanh(c); the gates i, f, o, g are of W·x + b + U·h.

    Bottoms are x [time, batch, ...], cont, perhaps a static input, and with expose_hidden h and c.
    Where cont is 0, h and c count as 0 (lstm_layer.cpp, lstm_unit_layer.cpp).
    """
    blobs = [blob.astype(np.float64) for blob in layer.blobs]
    weight, bias, *static, hidden = blobs
    outputs = layer.parameter.recurrent_param.num_output
    x, cont, states, more = _steps(layer, bottoms, 2)
    gates = x @ weight.reshape(4 * outputs, -1).T + bias.ravel()
    if static:
        gates = gates + more @ static[0].reshape(4 * outputs, -1).T
    tops, h, c = _unrolled(gates, cont, hidden, *states)
    return [tops, h[None], c[None]][: len(layer.tops)]


@formula("Lstm")
def lstm_of_rows(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The same over rows [time · batch_size, ...]; blobs W, U, b (junhyukoh's lstm_layer.cpp).

    In CTPN's Caffe, bottom and top are [time, rows, ...] and there is no batch_size.
    """
    parameter, old = layer.parameter.lstm_param, layer.parameter.inner_product_param
    outputs = parameter.num_output or old.num_output
    weight, hidden, *bias = (blob.astype(np.float64) for blob in layer.blobs)
    width = weight.size // (4 * outputs)
    # A bottom [time, batch, ...] has its batch already.
    batch = max(parameter.batch_size, bottoms[0].size // (len(bottoms[0]) * width))
    x = bottoms[0].reshape(-1, batch, width)
    cont = bottoms[1].reshape(len(x), batch, 1) if len(bottoms) > 1 else np.ones((len(x), batch, 1))
    gates = x @ weight.reshape(4 * outputs, -1).T
    if bias:
        gates = gates + bias[0].ravel()
    start = np.zeros((batch, outputs))
    found = _unrolled(gates, cont, hidden, start, start)[0]
    # One row at a time has the same values in both, but junhyukoh's shape.
    apart = not parameter.HasField("batch_size") and x.shape[:2] == bottoms[0].shape[:2]
    return found if apart and batch > 1 else np.concatenate(found)


@formula("RNN")
def rnn(layer: Layer, bottoms: Sequence[F64]) -> list[F64]:
    """States h = tanh(W·x + b + U·h); the top is tanh(V·h + c) (rnn_layer.cpp)."""
    weight, bias, *static, hidden, out, shift = (blob.astype(np.float64) for blob in layer.blobs)
    outputs = layer.parameter.recurrent_param.num_output
    x, cont, (h,), more = _steps(layer, bottoms, 1)
    tops = []
    for step, goes_on in zip(x, cont, strict=True):
        total = step @ weight.reshape(outputs, -1).T + bias.ravel()
        if static:
            total = total + more @ static[0].reshape(outputs, -1).T
        h = np.tanh(total + (goes_on * h) @ hidden.reshape(outputs, outputs).T)
        tops.append(np.tanh(h @ out.reshape(outputs, outputs).T + shift.ravel()))
    return [np.stack(tops), h[None]][: len(layer.tops)]


@formula("ContinuationIndicator")
def continuation_indicator(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """0 at the first step and 1 at all others (Intel's continuation_indicator_layer.cpp).

    The converter keeps the batch open, so one sequence stands for all.
    """
    cont = np.ones((layer.parameter.continuation_indicator_param.time_step, 1))
    cont[0] = 0
    return cont


@formula("CTCGreedyDecoder", jumps=True)
def ctc_greedy_decoder(layer: Layer, bottoms: Sequence[F64]) -> list[F64]:
    """The best class of each step without blanks and repeats, then -1 (ctc_decoder_layer.cpp).

    A sequence ends before the first indicator of 0 after its first step. The second top is minus
    the sum of the best scores.
    """
    scores, indicators = bottoms[:2]
    parameter = layer.parameter.ctc_decoder_param
    if layer.parameter.HasField("ctc_greedy_decoder_param"):
        parameter = layer.parameter.ctc_greedy_decoder_param
    steps, batch, classes = scores.shape
    blank = parameter.blank_index if parameter.blank_index >= 0 else classes - 1
    labels, totals = np.full((batch, steps, 1, 1), -1.0), np.zeros((batch, 1, 1, 1))
    for sequence in range(batch):
        last, count = -1, 0
        for step in range(steps):
            if step and indicators[step, sequence].ravel()[0] == 0:
                break
            best = int(scores[step, sequence].argmax())
            totals[sequence] -= scores[step, sequence, best]
            if best != blank and not (parameter.ctc_merge_repeated and best == last):
                labels[sequence, count] = best
                count += 1
            last = best
    return [labels, totals][: len(layer.tops)]


def _steps(layer: Layer, bottoms: Sequence[F64], states: int) -> tuple[F64, F64, list[F64], F64]:
    """What a layer reads: x [time, batch, inputs], cont [time, batch, 1], states, static input."""
    parameter = layer.parameter.recurrent_param
    x = bottoms[0].reshape(*bottoms[0].shape[:2], -1)
    known = list(bottoms[1:])
    first = [np.zeros((x.shape[1], parameter.num_output))] * states
    if parameter.expose_hidden:
        first = [state[0] for state in known[-states:]]
        known = known[:-states]
    cont = known[0][..., None] if known else np.ones((*x.shape[:2], 1))
    static = known[1].reshape(x.shape[1], -1) if len(known) > 1 else np.zeros((x.shape[1], 0))
    return x, cont, first, static


def _unrolled(gates: F64, cont: F64, hidden: F64, h: F64, c: F64) -> tuple[F64, F64, F64]:
    """All h, the last h and c, from the gates [time, batch, 4 * outputs] without U·h."""
    tops = []
    for step, goes_on in zip(gates, cont, strict=True):
        total = step + (goes_on * h) @ hidden.reshape(step.shape[1], -1).T
        i, f, o = (_sigmoid(gate) for gate in np.split(total, 4, axis=1)[:3])
        c = f * goes_on * c + i * np.tanh(np.split(total, 4, axis=1)[3])
        h = o * np.tanh(c)
        tops.append(h)
    return np.stack(tops), h, c


def _sigmoid(x: F64) -> F64:
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5)
