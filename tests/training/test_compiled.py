"""Compiling a model: the same loss and gradient, nothing left behind, and what is said where it fails."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gti_cli.training.compiled import compile_forward, remove_compiled, uncompiled


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.GELU(), nn.Linear(8, 1))


def counting(inner: nn.Module, monkeypatch: Any) -> list[int]:
    """Compile with a stand-in that counts calls (the real compiler takes long)."""
    calls: list[int] = []

    def compiled(self: nn.Module, *_: Any, **__: Any) -> None:
        call = self._call_impl
        self._compiled_call_impl = lambda *args, **more: (calls.append(1), call(*args, **more))[1]

    monkeypatch.setattr(nn.Module, "compile", compiled)
    return calls


def test_leaves_no_gradient_and_no_random_number(monkeypatch: Any) -> None:
    net, x = model(), torch.randn(5, 4)
    calls = counting(net, monkeypatch)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    assert compile_forward(net, lambda: net(x).sum()) == "yes" and calls == [1]
    assert torch.equal(torch.rand(3), expected)
    assert all(parameter.grad is None for parameter in net.parameters())
    net(x)
    assert calls == [1, 1]
    with uncompiled(net):
        net(x)
    assert calls == [1, 1]
    net(x)
    remove_compiled(net)
    net(x)
    assert calls == [1, 1, 1]


def test_where_it_fails_it_says_why_and_goes_on(monkeypatch: Any, capsys: Any) -> None:
    net, x = model().eval(), torch.randn(5, 4)
    expected = net(x)

    def broken(self: nn.Module, *_: Any, **__: Any) -> None:
        def call(*args: Any, **more: Any) -> Any:
            raise RuntimeError("no C++ compiler\nand a long story")

        self._compiled_call_impl = call

    monkeypatch.setattr(nn.Module, "compile", broken)
    assert compile_forward(net, lambda: net(x).sum()) == "no: no C++ compiler"
    assert "--compile cannot be used here" in capsys.readouterr().err
    assert torch.equal(net(x), expected)


def test_eager_backend_computes_the_same(monkeypatch: Any) -> None:
    """Through torch's own machinery, short of generating code."""
    net = model().eval()
    x = torch.randn(5, 4)
    expected = net(x)
    real = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **more: real(self, backend="eager", **more))
    assert compile_forward(net, lambda: net(x).sum()) == "yes"
    torch.testing.assert_close(net(x), expected)
