# SPDX-License-Identifier: Apache-2.0
"""All planted bugs: what people get wrong in distributed MoE training.  Each file has a subject."""
import pathlib

import bugs_adapters
import bugs_conversations
import bugs_distillation
import bugs_layouts
import bugs_models
import bugs_programs
import bugs_quantization
import bugs_texts
import bugs_training

LISTS = [bugs_adapters, bugs_distillation, bugs_quantization, bugs_programs, bugs_texts, bugs_conversations, bugs_training, bugs_layouts,
         bugs_models]
FILES = [pathlib.Path(bugs.__file__) for bugs in LISTS]
MUTANTS = [mutant for bugs in LISTS for mutant in bugs.MUTANTS]
