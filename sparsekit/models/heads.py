"""Which weights are the classifier: those that produce what the network returns."""

from torch import nn

from sparsekit.models.examples import Example
from sparsekit.models.layers import output_dims, weight_names
from sparsekit.models.trace import trace


def classifiers(model: nn.Module, example: Example | None) -> frozenset[str]:
    """Return the names of the weights whose products are the outputs of the network.

    Found by running the example: between such a weight and the output there is no other
    multiplication by a weight, and it has as many outputs as the network. So it does not matter in
    which order layers were registered, and there may be several, as in distilled DeiT. Without an
    example, timm's models name their classifiers. Raises ValueError if neither is known.
    """
    if example is None:
        if found := _named_by_timm(model):
            return found
        raise ValueError(_way_out(model, "without an example of the inputs it cannot be found"))
    sizes = {
        name: parameter.shape[dim]
        for (name, parameter), dim in zip(
            model.named_parameters(), output_dims(model).values(), strict=True
        )
        if parameter.dim() > 1
    }
    found = frozenset(
        name
        for shape, names in trace(model, example).outputs
        for name in names
        if sizes.get(name) in {*shape[1:2], *shape[-1:]}
    )
    if not found:
        raise ValueError(_way_out(model, "no weight has the outputs of the network as its own"))
    return found


def _named_by_timm(model: nn.Module) -> frozenset[str]:
    """Return the weights of the layers that timm's description of a model calls its classifiers."""
    described = vars(model).get("default_cfg") or vars(model).get("pretrained_cfg") or {}
    layers = described.get("classifier") or ()
    layers = (layers,) if isinstance(layers, str) else layers
    candidates = weight_names(model)
    return frozenset(
        name for name in candidates for layer in layers if name.startswith(f"{layer}.")
    )


def _way_out(model: nn.Module, why: str) -> str:
    names = weight_names(model)
    return (
        f"keep_head=True: which weight is the classifier? {why}. "
        f"Name it instead: prunable.keep_head=false prunable.exclude=[{names[-1] if names else ''}]"
        f"; the weights are {', '.join(names)}"
    )
