# A lab without internet: its own server, code from a share, packages from a folder. Guide: docs/guides/air-gapped.md
# First, in the folder of the sources: dotnet build
$ErrorActionPreference = 'Stop'
if (-not (Get-Module WandbLaunch)) { Import-Module "$PSScriptRoot/../../out/WandbLaunch" }
$share = New-Item -ItemType Directory (Join-Path ([IO.Path]::GetTempPath()) "wandblaunch-share-$(New-Guid)")

# 1. What was carried in: wheels. (On a machine with internet: pip download -r requirements.txt -d wheels.) Here one is made.
$wheels = New-Item -ItemType Directory (Join-Path $share wheels)
$parts = [ordered]@{
    'labtool.py'                        = 'answer = 42'
    'labtool-1.0.dist-info/METADATA'    = "Metadata-Version: 2.1`nName: labtool`nVersion: 1.0`n"
    'labtool-1.0.dist-info/WHEEL'       = "Wheel-Version: 1.0`nGenerator: demo`nRoot-Is-Purelib: true`nTag: py3-none-any`n"
    'labtool-1.0.dist-info/RECORD'      = "labtool.py,,`nlabtool-1.0.dist-info/METADATA,,`nlabtool-1.0.dist-info/WHEEL,,`nlabtool-1.0.dist-info/RECORD,,`n"
}
$zip = [IO.Compression.ZipFile]::Open((Join-Path $wheels labtool-1.0-py3-none-any.whl), 'Create')
foreach ($name in $parts.Keys) {
    $writer = [IO.StreamWriter]::new($zip.CreateEntry($name).Open())
    $writer.Write($parts[$name])
    $writer.Dispose()
}
$zip.Dispose()

# 2. The lab's code: a bare repository on the share, as a git server would have it.
$uri = & "$PSScriptRoot/demo/New-DemoRepository.ps1" (Join-Path $share work)
$copy = [uri]::new($uri).LocalPath
Set-Content (Join-Path $copy requirements.txt) 'labtool==1.0'
Set-Content (Join-Path $copy use.py) 'import labtool; print("labtool says", labtool.answer)'
git -C $copy add .
git -C $copy -c user.name=Demo -c user.email=demo@example.org commit --quiet -m 'Use the tool'
git clone --quiet --bare $copy (Join-Path $share train.git)
$code = [uri]::new((Join-Path $share train.git)).AbsoluteUri

# 3. The lab's own server. For other machines: Start-WandbLaunchServer -ListenAddress 0.0.0.0, behind TLS.
Connect-Wandb -Local | Out-Null

# 4. pip looks into the folder and nowhere else.
$run = Start-WandbLaunch $code -EntryPoint 'python use.py' -Resource local-process -PipNoIndex -PipFindLinks $wheels.FullName -Quiet
"$($run.State): $($run | Receive-WandbLaunchLog -Tail 1)"

# 5. The same for an agent, which takes it from its settings. Another list of packages, so that it has to look itself.
Set-Content (Join-Path $copy requirements.txt) 'labtool>=1.0'
git -C $copy -c user.name=Demo -c user.email=demo@example.org commit --quiet -a -m 'Newer tools will do'
git -C $copy push --quiet (Join-Path $share train.git) HEAD
if (-not (Get-WandbRunQueue lab*)) { New-WandbRunQueue lab | Out-Null }
Add-WandbLaunchQueueItem $code -EntryPoint 'python use.py' -Resource local-process -Queue lab | Out-Null
$events = Start-WandbLaunchAgent -Queue lab -AllowResource local-process -AllowGitHost file -Pip @{ no_index = $true; find_links = $wheels.FullName } -StopWhenEmpty
$events | Where-Object Kind -EQ RunFinished | ForEach-Object { "agent: $($_ | Receive-WandbLaunchLog -Tail 1)" }

Remove-WandbRunQueue lab -Confirm:$false
Remove-Item $share -Recurse -Force
exit 0
