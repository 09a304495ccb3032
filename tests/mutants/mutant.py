# SPDX-License-Identifier: Apache-2.0
"""A planted bug, and the tests that many of them share."""
from dataclasses import dataclass


@dataclass
class Mutant:
    name: str
    where: str  # the function, class or variable that it stands in: "Engine::step", "tensor/cpu: close_groups" (anchors.py)
    old: str  # stands there once, whatever the spaces, line ends and comments
    new: str
    target: str = "test_layouts"
    filter: str = "*ExpertParallel*:*DataParallel*Reference*"


PIPELINE = {"target": "test_parallel", "filter": "Pipeline*-*AllSizes*:*Times*"}
ATTENTION = {"target": "test_tensor", "filter": "*CpuAttention*"}
CONTEXT = {"target": "test_parallel", "filter": "*ContextAttention*"}
MEMORY = {"filter": "Recompute*:MemoryPlan*:LongContext*"}
ZERO = {"filter": "*Zero*:*Fp64EqualsReference*"}
GRID = {"filter": "*Grid.Fp64*"}
ROLES = {"filter": "Roles*"}
CONFIG = {"target": "test_base", "filter": "Config*:Problems*"}
LATENT = {"target": "test_model", "filter": "*DecodeTest*"}
MTP = {"filter": "*DataParallel.Fp64EqualsReference/moe_v3_mtp"}
HUB = {"target": "test_trainer", "filter": "*GoldenModel*:*HubImport*"}
GGUF = {"target": "test_trainer", "filter": "GgufImport*"}
GGUF_FILE = {"target": "test_checkpoint", "filter": "Gguf*"}
CHAT = {"target": "test_data", "filter": "ChatTemplate*"}
ADAPTERS = {"target": "test_trainer", "filter": "*GoldenAdapter*:*Peft*:*AnyAdapter*:*ExpertsApart*:*Merge*"}
