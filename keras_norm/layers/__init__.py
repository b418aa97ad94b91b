"""All layers, flat; the folders are the survey's chapters."""

from keras_norm.core.normalization import ComposedNormalization
from keras_norm.layers.area.batch_normalization import BatchNormalization
from keras_norm.layers.area.group_normalization import GroupNormalization
from keras_norm.layers.area.instance_normalization import InstanceNormalization
from keras_norm.layers.area.layer_normalization import LayerNormalization
from keras_norm.layers.operation.rms_normalization import RMSNormalization
from keras_norm.layers.operation.unit_normalization import UnitNormalization

__all__ = [name for name in dir() if name[0].isupper()]
