# SPDX-License-Identifier: Apache-2.0
"""Planted bugs: weights in few bits."""
from mutant import Mutant

KERNEL = {"target": "test_tensor", "filter": "*Quantize*:*Dequantize*"}
LAYER = {"target": "test_layers", "filter": "*Quantized*"}
CLI = "test_quantize.py Quantize."

MUTANTS = [
    Mutant("a shard counts its blocks' groups from its own first row", "tensor/cpu/kernels/dequantize.cpp: dequantize_nf4",
           "(args.first_row + row) * args.row_blocks", "(args.first_row * 0 + row) * args.row_blocks", **KERNEL),
    Mutant("a shard's blocks begin where it does", "tensor/cpu/kernels/dequantize.cpp: dequantize_nf4",
           "end = min_of(first + y.cols, (block + 1) * kNf4Block)", "end = min_of(first + y.cols, c + kNf4Block)", **KERNEL),
    Mutant("the odd column's code is in the upper half", "tensor/cpu/kernels/dequantize.cpp: code_at", "column % 2 == 0", "column % 2 != 0", **KERNEL),
    Mutant("CUDA takes the other half of a byte", "DequantizeNf4", "column % 2 == 0", "column % 2 != 0", **KERNEL),
    Mutant("CUDA counts blocks from the shard's first column", "DequantizeNf4",
           "block - first_column / kNf4Block", "(column - first_column) / kNf4Block", **KERNEL),
    Mutant("every row of int8 has the first one's factor", "tensor/cpu/kernels/dequantize.cpp: dequantize_int8",
           "static_cast<Wide<M>>(scales[row])", "static_cast<Wide<M>>(scales[0 * row])", **KERNEL),
    Mutant("a level is the next lower one", "nearest_level", "code += x > middle", "code += x >= middle + 0.05f", **KERNEL),
    Mutant("a number of 8 bits is the next lower one", "nearest_number", "x - above[-1] <= *above - x ? place - 1 : place", "place - 1", **KERNEL),
    Mutant("the mean of the largest is not taken off", "quantize_largest", "nested[0] = mean;", "nested[0] = 0 * mean;", **KERNEL),
    Mutant("all blocks share one factor", "quantize_largest", "nested[1 + begin / kNf4Nested] = factor;", "nested[1] = factor;", **KERNEL),
    Mutant("a rectangle takes the first rows of the whole", "take_part", "((row + r) * from_columns + column)", "((0 * row + r) * from_columns + column)", **KERNEL),
    Mutant("one logical tensor of a storage is dequantised", "Parameter::elements", "i < quantized_.size()", "i < quantized_.size() && i < 1", **LAYER),
    Mutant("elements are kept as parameters", "Parameter::elements", "MemoryCategory::kWorkspace", "MemoryCategory::kParameters", **LAYER),
    Mutant("what trains whole is quantised", "QuantizationRules::of", "!(lora_ && lora_->saves(module))", "(!lora_ || lora_)", **LAYER),
    Mutant("a quantised head is taken in silence", "QuantizationConfig::validate", "pattern.is_all_linear() || !pattern(module)", "module != nullptr || !pattern(module)", **LAYER),
    Mutant("a shard of columns holds the first ones", "Parameter::Parameter", "t.global_shape, t.begin, t.shape",
           "t.global_shape, std::vector<int64_t>{t.begin[0], 0}, t.shape", target="test_layouts", filter="*Adapters.Fp64*"),
    Mutant("DoRA's norms are those of rows of zeros", "Magnitudes::norms", "const Tensor base = base_.elements();",
           "const Tensor base = Tensor::zeros(base_.shape(), base_.dtype(), base_.device());", target="test_layouts", filter="*Adapters.Fp64*"),
    Mutant("a merged model says that it is quantised", "merge_model", "  config.quantization = {};\n", "",
           target="orthant", filter=CLI + "test_a_merge_names_its_base_and_both_errors"),
    Mutant("a merge takes the original base unasked", "find_original", "if (options.into.empty()) return;", "if (!parts.original) return;",
           target="orthant", filter=CLI + "test_a_merge_names_its_base_and_both_errors"),
    Mutant("another original is merged into", "find_original", "weights_fingerprint(found) == from->second.substr(comma + 2)", "!from->second.empty()",
           target="orthant", filter=CLI + "test_an_original_is_known_by_its_weights"),
    Mutant("a quantised base is quantised again", "quantized_checkpoint", "quantization_record(read_manifest(checkpoint)).format != Quantization::kNone",
           "checkpoint.empty()", target="orthant", filter=CLI + "test_adapters_train_over_a_base_in_few_bits"),
    Mutant("a run does not see that its base is quantised", "with_base", "base.config.quantization.is_on() && is_base_as_it_is(base, loaded.config)",
           "is_base_as_it_is(base, loaded.config) && false", target="orthant", filter=CLI + "test_adapters_train_over_a_base_in_few_bits"),
    Mutant("another format is taken for the base's", "check_held", "if (held == wanted) return;", "if (held == wanted || manifest.step == 0) return;",
           target="orthant", filter=CLI + "test_what_trains_whole_stays_whole"),
    Mutant("everything trains and is quantised", "settle", "!c.quantization.is_on() || c.lora.is_on()", "!c.quantization.is_on() || !c.lora.is_on()",
           target="orthant", filter=CLI + "test_what_cannot_be_is_refused"),
]
