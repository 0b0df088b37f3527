# The processes that have a variable with this value in their environment, or that name it on their command line: what
# tests started and did not end. Only Linux shows environments to others.
param([Parameter(Mandatory)] [string] $Value)

if ($IsLinux) {
    foreach ($folder in [IO.Directory]::GetDirectories('/proc') -match '^/proc/\d+$') {
        $id = [int](Split-Path $folder -Leaf)
        if ($id -eq $PID) { continue }
        try {
            $words = [IO.File]::ReadAllText("$folder/cmdline").TrimEnd([char]0).Replace([char]0, ' ')
            $environment = [IO.File]::ReadAllText("$folder/environ")
        } catch {
            continue # Ended meanwhile.
        }
        if ("$words$environment".Contains($Value)) { "process ${id}: $words" }
    }
}
