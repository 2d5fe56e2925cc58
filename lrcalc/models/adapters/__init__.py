"""Other people's models as backbones: one file each, imported only when a model asks for it."""
