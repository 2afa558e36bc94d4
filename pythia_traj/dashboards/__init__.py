"""The live dashboard: a page in the browser that shows runs while they are written.

serving.py      starts and ends the server: `pythia_traj.dashboards`, the command
watching.py     a thread that looks at the runs again and again
app.py          the Dash application
layout.py       its components
callbacks.py    what the server answers when a reader chooses something
sent.py         drawings and notes as the page's script receives them
exported.py     the view as a page of its own
guard.py        who is answered: host names, the token, the content security policy
templates/      the page around the components, its script and its style

All numbers come from `live/`, which knows no server. What only moves figures in the browser (the
axis, the step, the theme) is done there, by the script that reports have too.
"""
