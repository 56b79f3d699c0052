from llm_anatomy.errors import UserError as UserError
from llm_anatomy.notebook.model import Model as Model
from llm_anatomy.notebook.model import load as load
from llm_anatomy.notebook.results import Results as Results

__version__: str
