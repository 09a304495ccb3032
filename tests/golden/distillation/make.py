#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden losses and gradients of distillation, from torch (2.15, in f64).

  VENV/bin/pip install torch==2.15.0
  VENV/bin/python make.py            writes cases.json beside this file

Logits are kept, so that nothing else decides a case.  Each is a mean over the rows that have a label, of
  hard_weight * cross_entropy + (1 - hard_weight) * T^2 * (mix * KL(teacher | student) + (1 - mix) * KL(student | teacher)).
"""
import json
import pathlib

import torch
import torch.nn.functional as F

ROWS, VOCABULARY = 4, 11
LABELS = [3, -1, 10, 0]
#         top_k, rest,    T,   mix, hard_weight
CASES = [(0, "bucket", 1.0, 1.0, 0.0),
         (0, "bucket", 2.0, 0.0, 0.0),
         (0, "bucket", 0.5, 0.3, 0.25),
         (3, "bucket", 1.0, 1.0, 0.0),
         (3, "bucket", 2.0, 0.0, 0.5),
         (4, "bucket", 1.5, 0.6, 0.2),
         (11, "bucket", 1.5, 0.6, 0.2),
         (3, "none", 1.0, 1.0, 0.0),
         (5, "none", 2.5, 0.4, 0.3)]


def events(logits, ids, rest):
    """Log-probabilities of the tokens, and of all others together; or of the tokens among themselves."""
    taken = logits.gather(1, ids)
    if rest == "none":
        return F.log_softmax(taken, dim=1)
    others = logits.scatter(1, ids, float("-inf"))
    if ids.shape[1] == logits.shape[1]:
        return F.log_softmax(taken, dim=1)  # there is no other
    return F.log_softmax(torch.cat([taken, others.logsumexp(1, keepdim=True)], dim=1), dim=1)


def case(student, teacher, top_k, rest, temperature, mix, hard_weight):
    student = student.clone().requires_grad_(True)
    ids = teacher.topk(top_k or VOCABULARY, dim=1).indices
    q, p = (events(logits / temperature, ids, rest) for logits in (student, teacher))
    forward = F.kl_div(q, p, reduction="none", log_target=True).sum(1)
    reverse = F.kl_div(p, q, reduction="none", log_target=True).sum(1)
    labels = torch.tensor(LABELS)
    counted = labels >= 0
    soft = temperature**2 * (mix * forward + (1 - mix) * reverse)
    hard = F.cross_entropy(student, labels.clamp(min=0), reduction="none")
    loss = (hard_weight * hard + (1 - hard_weight) * soft)[counted].mean()
    loss.backward()
    agrees = (student.argmax(1) == teacher.argmax(1))[counted].sum()
    return {"top_k": top_k, "rest": rest, "temperature": temperature, "mix": mix, "hard_weight": hard_weight, "loss": loss.item(),
            "lm_loss": hard[counted].mean().item(), "distill_loss": soft[counted].mean().item(), "agreement": agrees.item(),
            "gradient": student.grad.flatten().tolist()}


def main():
    torch.manual_seed(7)
    student, teacher = (2 * torch.randn(ROWS, VOCABULARY, dtype=torch.float64) for _ in range(2))
    teacher[3] = student[3] + 0.1 * torch.randn(VOCABULARY, dtype=torch.float64)  # one row that agrees
    sorted_logits = teacher.sort(1, descending=True).values
    margin = (sorted_logits[:, :-1] - sorted_logits[:, 1:]).min().item()
    assert margin > 1e-3, margin
    out = {"torch": torch.__version__, "dtype": "float64", "seed": 7, "smallest_margin": margin, "rows": ROWS, "vocabulary": VOCABULARY,
           "labels": LABELS, "student": student.flatten().tolist(), "teacher": teacher.flatten().tolist(),
           "cases": [case(student, teacher, *settings) for settings in CASES]}
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in out.items() if key != "cases"]
    cases = ",\n".join(json.dumps(one) for one in out["cases"])
    (pathlib.Path(__file__).parent / "cases.json").write_text("{" + ",\n".join(lines) + ',\n"cases": [\n' + cases + "\n]}\n")


if __name__ == "__main__":
    main()
