"""The one door to properties and renderables; what is behind it is in `rendering`, `renderables` and `interpolate`."""

from lockstep.config.interpolate import Interpolate, WithProperties
from lockstep.config.renderables import FlattenList, Property, Renderable, Renderer, Transform, flatten, renderer
from lockstep.config.rendering import (
    NeedsToWaitError,
    Properties,
    has_renderables,
    is_renderable,
    now,
    render,
    render_now,
    resolve,
)

__all__ = [
    "FlattenList",
    "Interpolate",
    "NeedsToWaitError",
    "Properties",
    "Property",
    "Renderable",
    "Renderer",
    "Transform",
    "WithProperties",
    "flatten",
    "has_renderables",
    "is_renderable",
    "now",
    "render",
    "render_now",
    "renderer",
    "resolve",
]
