"""Settings of the site. ``make site`` puts this file beside the sources that ``tools/site.py`` prepares."""

project = "Azure device provisioning in notebooks"
html_title = project
author = "the contributors"
language = "en"

extensions = ["myst_nb", "sphinx_copybutton", "sphinx_design"]
root_doc = "index"
exclude_patterns = ["_static", "docs/classes/**"]

# what is committed is what is shown
nb_execution_mode = "off"
# The text of a widget, and never its script: that would come from another server, and there is no kernel behind it.
nb_mime_priority_overrides = [
    ("html", "application/vnd.jupyter.widget-view+json", None),
    ("html", "application/javascript", None),
]
# the scripts that myst-nb takes from another server for the state of widgets, if a notebook keeps one
nb_ipywidgets_js = {}
myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence"]
# names of headings as GitHub and JupyterLab make them, for links such as simulator.md#limits
myst_heading_anchors = 4

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_favicon = "_static/logo.svg"
html_logo = "_static/logo.svg"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#0b62a8", "color-brand-content": "#0b62a8"},
    "dark_css_variables": {"color-brand-primary": "#6cb8f0", "color-brand-content": "#6cb8f0"},
}
# a block without a language is a terminal or an output
highlight_language = "none"
# with enough contrast to be read by everybody; they come with the theme
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "github-dark"

# a prompt is not part of what one copies
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True

# `make site ARGUMENTS="-b linkcheck"` asks other servers; many make their anchors by a script, which it does not run
linkcheck_retries = 3
linkcheck_anchors = False
