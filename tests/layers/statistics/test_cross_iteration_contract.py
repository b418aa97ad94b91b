"""The layers with a kernel, by those tests of the contract that apply.

In half precision their kernels are applied in it, which the contract's layers
do not do: tests beside this file say what is promised then.
"""

import keras
import pytest

from contract import test_compile
from contract import test_config
from contract import test_errors
from contract import test_masks
from contract import test_precision
from contract import test_running
from contract import test_shapes
from contract import test_state
from contract import test_table
from contract.table.compensated_statistics import OUTSIDE
from oracle_comparison import test_gradients
from oracle_comparison import test_values

KERNELS = [m for m in OUTSIDE if m.outputs == 1]
FIRST = list({m.layer: m for m in reversed(KERNELS)}.values())
MASKED = [m for m in KERNELS if m.mask_behaviour == "statistics"]
COMPARED = [m for m in KERNELS if m.reference()]
# JAX has no float64 unless it is started with it.
WIDE = KERNELS if keras.backend.backend() != "jax" else []


def name(check):
    return getattr(check, "__name__", None)


@pytest.mark.parametrize(
    "check",
    [
        test_shapes.test_output_shapes,
        test_state.test_state_moves_in_training_only,
        test_state.test_frozen_is_inference,
        test_state.test_inference_looks_at_each_sample_alone,
        test_state.test_empty_batch,
        test_state.test_constant_input,
        test_state.test_gradients_are_finite_on_degenerate_inputs,
        test_state.test_one_sample_alone,
        test_table.test_weights_in_the_order_of_the_table,
    ],
    ids=name,
)
@pytest.mark.parametrize("method", KERNELS, ids=str)
def test_every_row(check, method):
    check(method)


@pytest.mark.parametrize(
    "check",
    [
        test_config.test_config_makes_the_same_layer,
        test_config.test_config_has_every_argument,
        test_config.test_layer_loads_by_its_registered_name,
        test_config.test_misspelt_keyword_names_the_nearest,
        test_config.test_repr_says_what_it_is,
        test_errors.test_epsilon_is_not_negative,
        test_errors.test_rank_one_is_refused,
        test_precision.test_integers_are_converted,
        test_running.test_clone_of_a_model,
        test_running.test_sequential_and_nested,
        test_state.test_same_seed_same_layer,
        test_table.test_number_is_that_of_the_layer,
    ],
    ids=name,
)
@pytest.mark.parametrize("method", FIRST, ids=str)
def test_first_rows(check, method):
    check(method)


@pytest.mark.parametrize(
    "method", [m for m in FIRST if m not in MASKED], ids=str
)
def test_mask_of_a_convolution_is_refused(method):
    test_errors.test_mask_is_refused(method)


@pytest.mark.parametrize(
    "check",
    [
        test_masks.test_what_masked_entries_hold_does_not_matter,
        test_masks.test_gradients_do_not_see_masked_entries,
        test_masks.test_what_other_entries_hold_does_matter,
        test_masks.test_weight_two_is_the_entry_twice,
        test_masks.test_weight_two_is_the_time_step_twice,
        test_masks.test_fully_masked_batch,
        test_masks.test_mask_of_a_model_reaches_the_statistics,
    ],
    ids=name,
)
@pytest.mark.parametrize("method", MASKED, ids=str)
def test_masks_of_dense_layers(check, method):
    check(method)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("method", COMPARED, ids=str)
def test_formulas(method, training):
    test_values.test_value_and_state(method, training)
    test_gradients.test_gradient(method, training)


@pytest.mark.compile
def test_fit():
    test_running.check_fit(FIRST)


@pytest.mark.all
@pytest.mark.compile
@pytest.mark.parametrize("method", KERNELS, ids=str)
def test_compiled_step(method):
    test_compile.compare(method)


@pytest.mark.parametrize("method", WIDE, ids=str)
def test_float64(method):
    test_precision.test_float64(method)
