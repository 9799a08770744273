"""Peaks by the driver's name of a GPU, and by what is multiplied."""

from types import SimpleNamespace

import pytest
import torch

from orthoray.models import peaks
from orthoray.models.peaks import GPU_PEAKS, gpu_peak, peak_flops


@pytest.mark.parametrize(
    ("name", "bf16", "fp32"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12, 67e12),
        ("NVIDIA H100 PCIe", 756e12, 51e12),
        ("NVIDIA H100 NVL", 835e12, 60e12),
        ("NVIDIA H200", 989e12, 67e12),
        ("NVIDIA GH200 480GB", 989e12, 67e12),
        ("NVIDIA A100-SXM4-80GB", 312e12, 19.5e12),
        ("NVIDIA A10", 125e12, 31.2e12),
        ("NVIDIA L40S", 362e12, 91.6e12),
        ("NVIDIA L4", 121e12, 30.3e12),
        ("Tesla V100-SXM2-32GB", 0.0, 15.7e12),
        ("NVIDIA A10G", 0.0, 0.0),  # another part than the A10
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 0.0, 0.0),  # a seventh of one
        ("AMD Instinct MI300X", 0.0, 0.0),
    ],
)
def test_a_gpu_is_known_by_whole_words_of_its_name_or_not_at_all(name, bf16, fp32):
    assert (gpu_peak(name, "bf16"), gpu_peak(name, "fp32")) == (bf16, fp32)


def test_tensor_cores_are_never_slower_than_the_plain_units():
    for name, found in GPU_PEAKS.items():
        assert found.bf16 == found.tf32 == 0.0 or found.bf16 > found.tf32 >= found.fp32, name


def test_float32_has_the_peak_of_tf32_only_where_torch_may_use_it(monkeypatch):
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(get_device_name=lambda device: "NVIDIA H100 80GB HBM3"))
    precision = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        assert (peak_flops(gpu, torch.bfloat16), peak_flops(gpu, torch.float32)) == (989e12, 67e12)
        torch.set_float32_matmul_precision("high")
        assert (peak_flops(gpu, torch.bfloat16, 4), peak_flops(gpu, torch.float32)) == (989e12, 494e12)
    finally:
        torch.set_float32_matmul_precision(precision)


def test_processes_share_a_processor(monkeypatch):
    monkeypatch.setattr(peaks, "_measured_product", lambda dtype: 8e9)
    assert peak_flops(torch.device("cpu"), torch.float32, 4) == 2e9
