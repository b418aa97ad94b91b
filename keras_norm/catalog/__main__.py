"""`python -m keras_norm.catalog` prints the table of README."""

from keras_norm.catalog.rendering import markdown_table

if __name__ == "__main__":
    print(markdown_table())
