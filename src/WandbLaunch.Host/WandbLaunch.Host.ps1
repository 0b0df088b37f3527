# The slower way to the host, in a PowerShell that already runs: for Task Scheduler, which gives a task no variables.
# The words are read from the process's own command line, where no binder of parameters has been at them.
$null = [Reflection.Assembly]::LoadFrom((Join-Path $PSScriptRoot WandbLaunch.Host.dll))
exit [WandbLaunch.Host.ShellEntry]::Run()
