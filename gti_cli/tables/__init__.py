"""Tables: input files read and checked, Parquet files written so that equal content gives equal bytes."""

from gti_cli.tables.block_table import BlockTable, read_in_blocks
from gti_cli.tables.columns import ids, integers, strings
from gti_cli.tables.files import column_blocks, column_names, read, write, write_parts
from gti_cli.tables.semantic_ids import SemanticIDs, read_semantic_ids
from gti_cli.tables.sources.location import TableLocation, in_terms_of_the_file, locate, locate_all
from gti_cli.tables.vector_columns import vectors

__all__ = [
    "BlockTable",
    "SemanticIDs",
    "TableLocation",
    "column_blocks",
    "column_names",
    "ids",
    "in_terms_of_the_file",
    "integers",
    "locate",
    "locate_all",
    "read",
    "read_in_blocks",
    "read_semantic_ids",
    "strings",
    "vectors",
    "write",
    "write_parts",
]
