# What the files of tests share: a user's machine that is empty at the start, and that nothing is left of at the end.

function Start-TestHome {
    # A home folder, and in it an empty working folder. -Connect: with a server of its own, connected. -Install: launches
    # make a virtual environment, as they do for users, which takes longer than all the rest of most tests. -Core: a module
    # with another core than the one that was built for users.
    param([switch] $Connect, [switch] $Install, [string] $Core)
    $script:TestHome = (New-Item -ItemType Directory (Join-Path ([IO.Path]::GetTempPath()) "wandblaunch-pester-$(New-Guid)")).FullName
    'WANDB_API_KEY', 'WANDB_BASE_URL', 'WANDB_ENTITY', 'WANDB_PROJECT' | ForEach-Object { [Environment]::SetEnvironmentVariable($_, $null) }
    $env:WANDBLAUNCH_HOME = Join-Path $TestHome home
    $env:WANDB_CONFIG_DIR = Join-Path $TestHome config
    $env:NETRC = Join-Path $TestHome netrc
    $env:XDG_CONFIG_HOME = Join-Path $TestHome xdg
    $env:GIT_CONFIG_GLOBAL = Join-Path $TestHome gitconfig
    $env:PYTHONPATH = Join-Path $TestHome stub
    # No test opens a page on the machine of whoever runs it.
    $env:BROWSER = Join-Path $TestHome no-browser
    Set-Content $env:GIT_CONFIG_GLOBAL "[user]`nname = Test`nemail = test@example.org`n[init]`ndefaultBranch = main"
    $null = New-Item -ItemType Directory $env:PYTHONPATH, (Join-Path $TestHome work)
    Set-Location (Join-Path $TestHome work)
    $env:WANDBLAUNCH_MODULE = & $PSScriptRoot/Get-TestModule.ps1
    if ($Core) {
        Copy-Item $env:WANDBLAUNCH_MODULE (Join-Path $TestHome WandbLaunch) -Recurse
        $env:WANDBLAUNCH_MODULE = Join-Path $TestHome WandbLaunch
        # The one that is compiled ahead would be taken before it.
        Remove-Item (Join-Path $env:WANDBLAUNCH_MODULE lib/compiled) -Recurse -ErrorAction Ignore
        Copy-Item $Core (Join-Path $env:WANDBLAUNCH_MODULE lib)
    }
    Import-Module $env:WANDBLAUNCH_MODULE -Force
    $global:PSDefaultParameterValues['Start-WandbLaunch:NoInstall'] = -not $Install
    if ($Connect) { $script:Connection = Connect-Wandb -Local }
}

function Stop-TestHome {
    # Ends what the tests started. Anything else that still runs is a fault of the tests or of the module.
    Get-WandbLaunch -State Starting, Pending, Running | Stop-WandbLaunch
    Get-ChildItem $TestHome -Recurse -Filter *.db | ForEach-Object { Get-WandbLaunchServer $_.FullName } | Where-Object Running | Stop-WandbLaunchServer
    Get-WandbLaunchServer | Where-Object Running | Stop-WandbLaunchServer
    $mine = [regex]::Escape("process ${PID}:")
    $clock = [Diagnostics.Stopwatch]::StartNew()
    do { $left = @(& "$PSScriptRoot/../Get-LeftProcess.ps1" $TestHome) -notmatch $mine } while ($left -and $clock.Elapsed.TotalSeconds -lt 10 -and -not (Start-Sleep -Milliseconds 200))
    Set-Location $PSScriptRoot
    Remove-Item $TestHome -Recurse -Force -ErrorAction Ignore
    if ($left) { throw "Left behind: $($left -join '; ')" }
}

function New-TestFolder {
    # A folder whose main.py prints its arguments. -Program: another program.
    param([string] $Name = 'train', [string] $Program = 'import sys; print(sys.argv[1:])')
    $folder = (New-Item -ItemType Directory (Join-Path $PWD $Name) -Force).FullName
    Set-Content (Join-Path $folder requirements.txt) ''
    Set-Content (Join-Path $folder main.py) $Program
    $folder
}

function New-TestRepository {
    # The same as a repository with one commit: its URI.
    param([string] $Name = 'repo', [string] $Program = 'import sys; print(sys.argv[1:])')
    $folder = New-TestFolder $Name $Program
    git -C $folder init --quiet
    git -C $folder add .
    git -C $folder commit --quiet -m one
    [uri]::new($folder).AbsoluteUri
}

function Copy-OfflineRun {
    # The folder that the SDK left of a run, here, and beside it (./repo) the repository that it was made from.
    $data = Join-Path $PSScriptRoot ../data/sdk-run-v0.12.21
    $folder = Join-Path $PWD wandb
    $null = New-Item -ItemType Directory $folder -Force
    Copy-Item (Join-Path $data offline-run-*) $folder -Recurse
    git clone --quiet (Join-Path $data train.bundle) (Join-Path $PWD repo)
    # The program logs to W&B; here it needs no SDK.
    Set-Content (Join-Path $env:PYTHONPATH wandb.py) @'
import json, os
class Config(dict):
    __getattr__ = dict.__getitem__
class Run:
    def __init__(self, config):
        self.config = Config({**config, **json.loads(os.environ.get("WANDB_CONFIG", "{}"))})
def init(project=None, config=None):
    return Run(config or {})
def log(row):
    pass
'@
    (Get-Item (Join-Path $folder offline-run-*)).FullName
}

function Set-TestBrowser {
    # A browser that notes the words that it is given, one a line; Get-Opened gives and forgets them. A file that leads to a
    # page of this machine's server, with a code that signs in once, is noted as that page.
    param([int] $ExitCode = 0)
    $env:BROWSER = Join-Path $TestHome browser
    Set-Content $env:BROWSER (@'
#!/bin/sh
for word; do
    case "$word" in
        file://*.html) word=$(sed -n 's/.*url=\([^"#]*\)#link=[0-9A-F]\{64\}".*/\1/p' "${word#file://}") ;;
    esac
    echo "$word" >> 'OPENED'
done
exit CODE
'@ -replace 'OPENED', "$TestHome/opened" -replace 'CODE', $ExitCode)
    chmod +x $env:BROWSER
}

function Get-Opened {
    $file = Join-Path $TestHome opened
    if (Test-Path $file) {
        Get-Content $file
        Remove-Item $file
    }
}

function New-TestCertificate {
    # A certificate for this machine, as a PFX file with a password or as PEM with its key in it. Its password is the output.
    param([string] $Path, [string] $Password)
    $key = [Security.Cryptography.ECDsa]::Create()
    $request = [Security.Cryptography.X509Certificates.CertificateRequest]::new('CN=localhost', $key, 'SHA256')
    $names = [Security.Cryptography.X509Certificates.SubjectAlternativeNameBuilder]::new()
    $names.AddDnsName('localhost')
    $names.AddIpAddress([Net.IPAddress]::Loopback)
    $request.CertificateExtensions.Add($names.Build())
    $certificate = $request.CreateSelfSigned([DateTimeOffset]::Now.AddDays(-1), [DateTimeOffset]::Now.AddDays(90))
    $full = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Path)
    if ($Path -like '*.pfx') { [IO.File]::WriteAllBytes($full, $certificate.Export('Pfx', $Password)) }
    else { [IO.File]::WriteAllText($full, $certificate.ExportCertificatePem() + "`n" + $key.ExportPkcs8PrivateKeyPem()) }
    $Password
}

function Get-Fault {
    # The errors of a script block as id (without the cmdlet's class), category and target.
    param([scriptblock] $Script)
    $ErrorActionPreference = 'Continue'
    $Error.Clear()
    try { $null = & $Script 2>&1 } catch { $null = $_ }
    $Error | Where-Object { $_ -is [Management.Automation.ErrorRecord] } | ForEach-Object {
        [pscustomobject]@{
            Id       = ($_.FullyQualifiedErrorId -split ',')[0]
            Category = $_.CategoryInfo.Category
            Target   = $_.TargetObject
            Message  = "$_"
        }
    }
}

function Invoke-Pwsh {
    # Another pwsh with the module, -NonInteractive unless -Answer is typed into it: its lines, errors too. An empty -Answer
    # is an input that has ended, as tasks and services have it.
    param([string] $Script, [string[]] $Answer)
    $program = [Environment]::ProcessPath
    $words = @(if ((Split-Path $program -LeafBase) -ne 'pwsh') { Join-Path $PSHOME pwsh.dll }) + '-NoProfile'
    $file = Join-Path $TestHome "$(New-Guid).ps1"
    $defaults = "`$PSDefaultParameterValues['Start-WandbLaunch:NoInstall'] = `$$($PSDefaultParameterValues['Start-WandbLaunch:NoInstall'])"
    Set-Content $file "Import-Module '$env:WANDBLAUNCH_MODULE'`n$defaults`n$Script"
    $old = $env:NO_COLOR
    $env:NO_COLOR = 1
    try {
        if ($PSBoundParameters.ContainsKey('Answer')) { $Answer | & $program @words -File $file 2>&1 | ForEach-Object { "$_" } }
        else { & $program @words -NonInteractive -File $file 2>&1 | ForEach-Object { "$_" } }
    } finally { $env:NO_COLOR = $old }
}

function Measure-Stop {
    # Ctrl+C: runs a script in a runspace of its own, stops it once -When is true, and says how long that took.
    param([string] $Script, [scriptblock] $When = { Start-Sleep 1; $true })
    $shell = [powershell]::Create([initialsessionstate]::CreateDefault())
    try {
        $null = $shell.AddScript("Set-Location '$PWD'; Import-Module '$env:WANDBLAUNCH_MODULE'; `$PSDefaultParameterValues['Start-WandbLaunch:NoInstall'] = `$true; $Script")
        $running = $shell.BeginInvoke()
        $clock = [Diagnostics.Stopwatch]::StartNew()
        while (-not (& $When)) {
            if ($running.IsCompleted) { throw "It ended before it was stopped: $($shell.Streams.Error)" }
            if ($clock.Elapsed.TotalSeconds -gt 60) { throw 'What it should be stopped in did not come.' }
            Start-Sleep -Milliseconds 50
        }
        if ($running.IsCompleted) { throw "It ended before it was stopped: $($shell.Streams.Error)" }
        $clock.Restart()
        $null = $shell.StopAsync($null, $null).Wait(20000)
        $clock.Elapsed
    } finally { $shell.Dispose() }
}

function New-ProgressHost {
    # A host that keeps each record of progress with its source: what a person would see.
    param([Collections.Concurrent.ConcurrentQueue[object]] $Seen)
    Add-Type -IgnoreWarnings -TypeDefinition @'
using System; using System.Collections.Concurrent; using System.Collections.Generic; using System.Collections.ObjectModel; using System.Globalization;
using System.Management.Automation; using System.Management.Automation.Host; using System.Security;
public sealed class ProgressHost(ConcurrentQueue<object> seen) : PSHost {
    public override string Name => "Progress"; public override Version Version { get; } = new(1, 0); public override Guid InstanceId { get; } = Guid.NewGuid();
    public override CultureInfo CurrentCulture => CultureInfo.InvariantCulture; public override CultureInfo CurrentUICulture => CultureInfo.InvariantCulture;
    public override PSHostUserInterface UI { get; } = new Shown(seen);
    public override void EnterNestedPrompt() { } public override void ExitNestedPrompt() { } public override void NotifyBeginApplication() { }
    public override void NotifyEndApplication() { } public override void SetShouldExit(int exitCode) { }
}
public sealed class Shown(ConcurrentQueue<object> seen) : PSHostUserInterface {
    public override PSHostRawUserInterface RawUI => null;
    public override void WriteProgress(long sourceId, ProgressRecord record) {
        var copy = new PSObject(); copy.Properties.Add(new PSNoteProperty("Source", sourceId));
        copy.Properties.Add(new PSNoteProperty("Activity", record.Activity)); copy.Properties.Add(new PSNoteProperty("ActivityId", record.ActivityId));
        copy.Properties.Add(new PSNoteProperty("RecordType", record.RecordType)); seen.Enqueue(copy);
    }
    public override string ReadLine() => ""; public override SecureString ReadLineAsSecureString() => new();
    public override void Write(string value) { } public override void Write(ConsoleColor foregroundColor, ConsoleColor backgroundColor, string value) { }
    public override void WriteLine(string value) { } public override void WriteErrorLine(string value) { } public override void WriteDebugLine(string message) { }
    public override void WriteVerboseLine(string message) { } public override void WriteWarningLine(string message) { }
    public override Dictionary<string, PSObject> Prompt(string caption, string message, Collection<FieldDescription> descriptions) => throw new NotImplementedException();
    public override PSCredential PromptForCredential(string caption, string message, string userName, string targetName) => throw new NotImplementedException();
    public override PSCredential PromptForCredential(string caption, string message, string userName, string targetName, PSCredentialTypes allowed, PSCredentialUIOptions options) => throw new NotImplementedException();
    public override int PromptForChoice(string caption, string message, Collection<ChoiceDescription> choices, int defaultChoice) => throw new NotImplementedException();
}
'@
    [ProgressHost]::new($Seen)
}

function Get-Completion {
    # What Tab offers: pressed again as a person does where the answer of a server comes a moment later, or -Once.
    param([string] $Line, [switch] $Once)
    $clock = [Diagnostics.Stopwatch]::StartNew()
    while ($true) {
        # Names of files are PowerShell's own, where a completer has nothing to say.
        $found = @((TabExpansion2 $Line $Line.Length).CompletionMatches | Where-Object ResultType -NotIn ProviderItem, ProviderContainer)
        if ($found -or $Once -or $clock.Elapsed.TotalSeconds -gt 5) { return $found.CompletionText }
        Start-Sleep -Milliseconds 100
    }
}

function Measure-Tab {
    # How long a Tab takes whose values have been found before, the best of five: other tests use the machine too.
    param([string] $Line)
    $null = Get-Completion $Line
    (1..5 | ForEach-Object { Measure-Command { Get-Completion $Line -Once } } | Measure-Object TotalMilliseconds -Minimum).Minimum
}

function Get-View {
    # What the console shows, at a width.
    param([Parameter(ValueFromPipeline)] $InputObject, [int] $Width = 120, [switch] $List)
    begin { $all = [Collections.Generic.List[object]]::new() }
    process { $all.Add($InputObject) }
    end {
        $PSStyle.OutputRendering = 'PlainText'
        if ($List) { $all | Format-List | Out-String -Width $Width } else { $all | Format-Table | Out-String -Width $Width }
    }
}
