"""Figures: rows of `pythia_traj.load` in, a Plotly figure out; public as `pythia_traj.figures`.

They are pure, and only draw what `pythia_traj.analysis` chooses, so that a report's page, `plot`
and a notebook show the same. Rows come with controls (`controls=True`) or without. Trajectories of
several models and labels share one figure. Rows without a value are not drawn; without any value,
`NothingToDraw` says why.

A file for each experiment, with its figures and its `CHARTS`: loss.py, induction.py,
attention.py, head_roles.py, ngram.py, logit_lens.py, linear_probe.py, representation.py,
weights.py, activations.py, memorization.py, samples.py, behaviour.py, logit_attribution.py,
ablation.py, patching.py, transplant.py, attribution.py; beside them:

charts.py     which figures a report has, with headings and captions
metric.py     the figure that fits one metric, whichever it is
own.py        charts of an experiment that has none of its own
drawable.py   whether there is anything to draw
style.py      colours, themes, quantities, literal text
axes.py       the axis of training steps, and that of tokens above it
lines.py      trajectories as lines with their intervals and controls
maps.py       heat maps of layers and heads over steps, and of heads at one step
marks.py      onsets as marks on the lines that they belong to
training.py   learning rate, warm-up and second epoch beside what was measured
data.py       what a figure shows, as a table

A figure knows what it shows, so that a page can move it to another axis or write it as CSV:

- `layout.meta`: `{"over": "steps"}` where the axis `x` is that of training steps. Its positions
  are log2(step + 1); `x2` is the axis of tokens above it. `"at": [i, j]` says that trace i shows
  for one step, `"step"`, what trace j shows for all; `"scales"`, which scale of a theme each
  coloraxis has.
- `trace.meta`: `steps`, the step of each point, or of each column of a heat map, and `model`. A
  trace of data also has `key`, the columns of its rows that are constant; `varying`, those that
  are not, by point; a heat map `rows`, the columns of each of its rows.
"""

from pythia_traj.figures.ablation import effect_of_heads as effect_of_heads
from pythia_traj.figures.ablation import effect_of_layers as effect_of_layers
from pythia_traj.figures.ablation import removed_heads_over_steps as removed_heads_over_steps
from pythia_traj.figures.ablation import sets_over_steps as sets_over_steps
from pythia_traj.figures.activations import size_of_sites as size_of_sites
from pythia_traj.figures.activations import size_over_steps as size_over_steps
from pythia_traj.figures.attention import (
    attention_entropy_of_heads as attention_entropy_of_heads,
)
from pythia_traj.figures.attention import (
    attention_entropy_over_steps as attention_entropy_over_steps,
)
from pythia_traj.figures.attention import attention_pattern as attention_pattern
from pythia_traj.figures.attribution import attribution_of_nodes as attribution_of_nodes
from pythia_traj.figures.attribution import circuit_metric_over_steps as circuit_metric_over_steps
from pythia_traj.figures.attribution import circuit_size_over_steps as circuit_size_over_steps
from pythia_traj.figures.attribution import faithfulness_over_steps as faithfulness_over_steps
from pythia_traj.figures.behaviour import answers_over_steps as answers_over_steps
from pythia_traj.figures.behaviour import difference_over_steps as difference_over_steps
from pythia_traj.figures.behaviour import right_over_steps as right_over_steps
from pythia_traj.figures.behaviour import templates_over_steps as templates_over_steps
from pythia_traj.figures.data import data_of as data_of
from pythia_traj.figures.drawable import NothingToDraw as NothingToDraw
from pythia_traj.figures.head_roles import roles_of_heads as roles_of_heads
from pythia_traj.figures.head_roles import roles_over_steps as roles_over_steps
from pythia_traj.figures.induction import attention_of_heads as attention_of_heads
from pythia_traj.figures.induction import attention_over_steps as attention_over_steps
from pythia_traj.figures.induction import conventions_over_steps as conventions_over_steps
from pythia_traj.figures.induction import copies_over_steps as copies_over_steps
from pythia_traj.figures.induction import induction_over_steps as induction_over_steps
from pythia_traj.figures.induction import previous_token_of_heads as previous_token_of_heads
from pythia_traj.figures.linear_probe import probe_accuracy_of_layers as probe_accuracy_of_layers
from pythia_traj.figures.linear_probe import probe_accuracy_over_steps as probe_accuracy_over_steps
from pythia_traj.figures.linear_probe import (
    probe_selectivity_of_layers as probe_selectivity_of_layers,
)
from pythia_traj.figures.linear_probe import (
    probe_selectivity_over_steps as probe_selectivity_over_steps,
)
from pythia_traj.figures.lines import over_steps as over_steps
from pythia_traj.figures.logit_attribution import attribution_of_heads as attribution_of_heads
from pythia_traj.figures.logit_attribution import attribution_of_parts as attribution_of_parts
from pythia_traj.figures.logit_attribution import writers_over_steps as writers_over_steps
from pythia_traj.figures.logit_lens import lens_agreement_of_layers as lens_agreement_of_layers
from pythia_traj.figures.logit_lens import lens_by_layer as lens_by_layer
from pythia_traj.figures.logit_lens import lens_divergence_of_layers as lens_divergence_of_layers
from pythia_traj.figures.logit_lens import lens_over_steps as lens_over_steps
from pythia_traj.figures.logit_lens import tuned_divergence_of_layers as tuned_divergence_of_layers
from pythia_traj.figures.loss import accuracy_over_steps as accuracy_over_steps
from pythia_traj.figures.loss import icl_over_steps as icl_over_steps
from pythia_traj.figures.loss import loss_by_class as loss_by_class
from pythia_traj.figures.loss import loss_by_frequency as loss_by_frequency
from pythia_traj.figures.loss import loss_by_position as loss_by_position
from pythia_traj.figures.loss import loss_over_steps as loss_over_steps
from pythia_traj.figures.maps import heads_over_steps as heads_over_steps
from pythia_traj.figures.maps import layers_over_steps as layers_over_steps
from pythia_traj.figures.maps import parts_over_steps as parts_over_steps
from pythia_traj.figures.memorization import matching_over_steps as matching_over_steps
from pythia_traj.figures.memorization import memorised_over_steps as memorised_over_steps
from pythia_traj.figures.metric import metric_figure as metric_figure
from pythia_traj.figures.ngram import ngrams_over_steps as ngrams_over_steps
from pythia_traj.figures.own import own_charts as own_charts
from pythia_traj.figures.patching import noising_of_heads as noising_of_heads
from pythia_traj.figures.patching import patched_heads_over_steps as patched_heads_over_steps
from pythia_traj.figures.patching import patching_of_heads as patching_of_heads
from pythia_traj.figures.patching import patching_of_parts as patching_of_parts
from pythia_traj.figures.patching import patching_of_positions as patching_of_positions
from pythia_traj.figures.representation import anisotropy_of_layers as anisotropy_of_layers
from pythia_traj.figures.representation import dimensions_of_layers as dimensions_of_layers
from pythia_traj.figures.representation import dimensions_over_steps as dimensions_over_steps
from pythia_traj.figures.representation import similarity_of_layers as similarity_of_layers
from pythia_traj.figures.representation import similarity_over_steps as similarity_over_steps
from pythia_traj.figures.representation import similarity_to_init as similarity_to_init
from pythia_traj.figures.samples import distinct_over_steps as distinct_over_steps
from pythia_traj.figures.samples import log_prob_over_steps as log_prob_over_steps
from pythia_traj.figures.training import with_training as with_training
from pythia_traj.figures.transplant import transplants_of_heads as transplants_of_heads
from pythia_traj.figures.transplant import transplants_of_parts as transplants_of_parts
from pythia_traj.figures.transplant import transplants_over_steps as transplants_over_steps
from pythia_traj.figures.weights import copying_of_heads as copying_of_heads
from pythia_traj.figures.weights import distance_of_matrices as distance_of_matrices
from pythia_traj.figures.weights import norms_of_matrices as norms_of_matrices
from pythia_traj.figures.weights import rank_of_embeddings as rank_of_embeddings
from pythia_traj.figures.weights import ranks_of_matrices as ranks_of_matrices
