"""Writers that turn the sample's texts into files of many formats, byte for byte the same each time."""
