using System.Management.Automation;
using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.PowerShell;

/// <summary>Shows launches of this machine.</summary>
/// <remarks>Shows what you launched from any shell, newest first: what ran, where it stands, its exit code, its log.</remarks>
/// <example><para>What runs now?</para><code>Get-WandbLaunch -State Starting, Running</code><para>From any shell.</para></example>
/// <example><para>The last failed one in full</para><code>@(Get-WandbLaunch -State Failed)[0]</code><para>Pipe it into Format-List for all properties.</para></example>
[Cmdlet(VerbsCommon.Get, "WandbLaunch")]
[OutputType("WandbLaunch.Launching.LaunchedRun")]
public sealed class GetWandbLaunchCommand : AsyncPSCmdlet
{
    /// <summary>Ids of launches; wildcards are allowed.</summary>
    [Parameter(Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(LaunchIdCompleter))]
    [SupportsWildcards]
    public string[] Id { get; set; } = ["*"];

    /// <summary>Only launches in these states.</summary>
    [Parameter]
    [ValidateSet("Starting", "Running", "Stopping", "Finished", "Failed", "Stopped", "Unknown")]
    public string[] State { get; set; } = [];

    /// <inheritdoc/>
    protected override Task ProcessAsync()
    {
        foreach (var id in Id)
        {
            try
            {
                if (WildcardPattern.ContainsWildcardCharacters(id))
                {
                    var pattern = WildcardPattern.Get(id, WildcardOptions.IgnoreCase);
                    LaunchStore.Default.All().Where(r => pattern.IsMatch(r.Id) && Fits(r)).ToList().ForEach(Output);
                }
                else if (LaunchStore.Default.Get(id) is var run && Fits(run))
                {
                    Output(run);
                }
            }
            catch (LaunchException e)
            {
                Error(e, id);
            }
        }

        return Task.CompletedTask;
    }

    private bool Fits(LaunchedRun run) =>
        State.Length == 0 || State.Contains(run.State.ToString(), StringComparer.OrdinalIgnoreCase);
}

/// <summary>Base of the commands that act on launches by id.</summary>
public abstract class LaunchByIdCommand : AsyncPSCmdlet
{
    /// <summary>Ids of launches.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(LaunchIdCompleter))]
    public string[] Id { get; set; } = [];

    /// <summary>Acts on one launch.</summary>
    private protected abstract Task ActAsync(string id);

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        foreach (var id in Id)
        {
            try
            {
                await ActAsync(id);
            }
            catch (Exception e) when (e is LaunchException or IOException)
            {
                Error(e, id);
            }
        }
    }

    /// <summary>Waits until a launch is done, or the time is over.</summary>
    internal async Task<LaunchedRun> UntilDoneAsync(string id, TimeSpan limit)
    {
        var until = limit == Timeout.InfiniteTimeSpan ? DateTime.MaxValue : DateTime.UtcNow + limit;
        var wait = 20;
        while (true)
        {
            var run = LaunchStore.Default.Get(id);
            if (run.IsDone || DateTime.UtcNow >= until)
            {
                return run;
            }

            await Task.Delay(wait, Token);
            wait = Math.Min(wait * 2, 250);
        }
    }
}

/// <summary>Waits for launches to end.</summary>
/// <remarks>Writes each launch when it is done. A launch that failed is written and is an error as well, so that $? tells. With -Timeout those that still run when the time is over are errors, and go on running.</remarks>
/// <example><para>Wait for everything that runs</para><code>Get-WandbLaunch -State Running | Wait-WandbLaunch</code><para>Writes each as it ends.</para></example>
/// <example><para>Start without waiting, wait later</para><code>$run = Start-WandbLaunch ./train -EntryPoint 'python train.py' -Resource local-process -NoWait; $run | Wait-WandbLaunch -Timeout 60</code><para>Gives up after a minute; the run goes on.</para></example>
[Cmdlet(VerbsLifecycle.Wait, "WandbLaunch")]
[OutputType("WandbLaunch.Launching.LaunchedRun")]
public sealed class WaitWandbLaunchCommand : LaunchByIdCommand
{
    /// <summary>Seconds to wait at most, for each. Default: no limit.</summary>
    [Parameter]
    [ValidateRange(0, int.MaxValue)]
    public int? Timeout { get; set; }

    /// <inheritdoc/>
    private protected override async Task ActAsync(string id)
    {
        var run = await UntilDoneAsync(
            id,
            Timeout is { } seconds ? TimeSpan.FromSeconds(seconds) : System.Threading.Timeout.InfiniteTimeSpan
        );
        if (!run.IsDone)
        {
            throw new LaunchException(
                "WaitTimeout",
                LaunchErrorCategory.OperationTimeout,
                $"The run {id} still runs after {Timeout} s. It goes on; stop it with Stop-WandbLaunch {id}.",
                run
            );
        }

        Output(run);
        if (run.State is LaunchState.Failed or LaunchState.Unknown)
        {
            Error(StartWandbLaunchCommand.Failure(run), run);
        }
    }
}

/// <summary>Stops launches.</summary>
/// <remarks>The program is asked to end and gets its grace period; then everything that it started is killed, and its container removed. Works from any shell.</remarks>
/// <example><para>Stop everything that runs</para><code>Get-WandbLaunch -State Running | Stop-WandbLaunch</code><para>Add -WhatIf to see which.</para></example>
/// <example><para>Start and stop one</para><code>$run = Start-WandbLaunch ./train -EntryPoint 'python sleep.py' -Resource local-process -NoWait; $run | Stop-WandbLaunch -PassThru</code><para>Its state is Stopped.</para></example>
[Cmdlet(VerbsLifecycle.Stop, "WandbLaunch", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.Launching.LaunchedRun")]
public sealed class StopWandbLaunchCommand : LaunchByIdCommand
{
    /// <summary>Write the stopped launch.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    /// <inheritdoc/>
    private protected override async Task ActAsync(string id)
    {
        var store = LaunchStore.Default;
        var run = store.Get(id);
        if (run.IsDone)
        {
            Verbose($"{id} is done already: {run.State}");
        }
        else if (await ShouldProcessAsync($"{id} ({run.Source})", "Stop run"))
        {
            var folder = store.Folder(id);
            var grace = LaunchStore.LoadSpec(folder).StopGraceSeconds;
            LaunchStore.AskStop(folder);
            run = await UntilDoneAsync(id, TimeSpan.FromSeconds(grace + 10));
            if (!run.IsDone || run.State == LaunchState.Unknown)
            {
                await EndOrphanAsync(run, folder);
                run = LaunchStore.Load(folder)!;
            }
        }

        if (PassThru)
        {
            Output(run);
        }
    }

    // Its watcher is gone or does not answer: end what is left of it from here.
    private async Task EndOrphanAsync(LaunchedRun run, string folder)
    {
        ProcessTree.KillOrphans(run.Id);
        if (run.ContainerId is { } container)
        {
            await LocalContainerRunner.RemoveOrphanAsync(LaunchStore.LoadSpec(folder).DockerEndpoint, container, Token);
        }

        LaunchStore.Save(
            folder,
            run with
            {
                State = LaunchState.Stopped,
                Finished = run.Finished ?? DateTimeOffset.UtcNow,
            }
        );
    }
}

/// <summary>Reads the log of launches.</summary>
/// <remarks>Writes what the program printed, a string for each line. -Follow goes on until the run is done. The log stays after the end.</remarks>
/// <example><para>The last lines of the newest launch</para><code>@(Get-WandbLaunch)[0] | Receive-WandbLaunchLog -Tail 5</code><para>Secrets that this session knows are masked.</para></example>
/// <example><para>Follow a run</para><code>Start-WandbLaunch ./train -EntryPoint 'python train.py' -Resource local-process -NoWait | Receive-WandbLaunchLog -Follow</code><para>Ends with the run. Ctrl+C ends only the reading.</para></example>
[Cmdlet(VerbsCommunications.Receive, "WandbLaunchLog")]
[OutputType(typeof(string))]
public sealed class ReceiveWandbLaunchLogCommand : LaunchByIdCommand
{
    private const int Batch = 512;

    /// <summary>Go on until the run is done.</summary>
    [Parameter]
    public SwitchParameter Follow { get; set; }

    /// <summary>Only the last lines.</summary>
    [Parameter]
    [ValidateRange(1, int.MaxValue)]
    public int? Tail { get; set; }

    /// <inheritdoc/>
    private protected override async Task ActAsync(string id)
    {
        var run = LaunchStore.Default.Get(id);
        if (run.LogPath is null || !File.Exists(run.LogPath))
        {
            return;
        }

        var stream = new FileStream(
            run.LogPath,
            FileMode.Open,
            FileAccess.Read,
            FileShare.ReadWrite | FileShare.Delete,
            1 << 16
        );
        await using (stream)
        {
            if (Tail is { } count)
            {
                SeekTail(stream, count);
            }

            using var reader = new StreamReader(stream, Encoding.UTF8, false, 1 << 16);
            var rest = "";
            while (true)
            {
                // Asked before reading: what was written before the end is read before the loop ends.
                var done = !Follow || LaunchStore.Default.Get(id).IsDone;
                rest = await ReadAllAsync(reader, rest);
                if (done)
                {
                    break;
                }

                await Task.Delay(100, Token);
            }

            if (rest.Length > 0)
            {
                Output(Secrets.Mask(rest.TrimEnd('\r')));
            }
        }
    }

    private async Task<string> ReadAllAsync(StreamReader reader, string rest)
    {
        var buffer = new char[1 << 16];
        var lines = new List<string>(Batch);
        int read;
        while ((read = await reader.ReadAsync(buffer, Token)) > 0)
        {
            var start = 0;
            while (Array.IndexOf(buffer, '\n', start, read - start) is var end and >= 0)
            {
                var line = new string(buffer, start, end - start);
                if (rest.Length > 0)
                {
                    (line, rest) = (rest + line, "");
                }

                lines.Add(line.EndsWith('\r') ? line[..^1] : line);
                start = end + 1;
                if (lines.Count == Batch)
                {
                    Write(lines);
                    lines = new List<string>(Batch);
                }
            }

            rest += new string(buffer, start, read - start);
        }

        Write(lines);
        return rest;
    }

    private void Write(List<string> lines)
    {
        if (lines.Count > 0)
        {
            Secrets.MaskAll(lines);
            Post(() => WriteObject(lines, true));
        }
    }

    private static void SeekTail(FileStream stream, int count)
    {
        var block = new byte[65536];
        var position = stream.Length;
        var lines = 0;
        while (position > 0)
        {
            var size = (int)Math.Min(block.Length, position);
            position -= size;
            stream.Position = position;
            stream.ReadExactly(block, 0, size);
            for (var i = size - 1; i >= 0; i--)
            {
                // The newline at the very end does not begin another line.
                if (block[i] == (byte)'\n' && position + i != stream.Length - 1 && ++lines == count)
                {
                    stream.Position = position + i + 1;
                    return;
                }
            }
        }

        stream.Position = 0;
    }
}

/// <summary>Removes launches that are done, with their logs.</summary>
/// <remarks>Removes the record, the log and the files of a launch from this machine. W&amp;B runs are not touched. A launch that still runs must be stopped first.</remarks>
/// <example><para>Tidy up what is older than a month</para><code>Get-WandbLaunch -State Finished, Stopped | Where-Object { $_.Finished -lt [DateTime]::Now.AddMonths(-1) } | Remove-WandbLaunch -Confirm:$false</code><para>Logs go with them.</para></example>
/// <example><para>See what would go</para><code>Get-WandbLaunch -State Failed | Remove-WandbLaunch -WhatIf</code><para>Nothing is removed.</para></example>
[Cmdlet(VerbsCommon.Remove, "WandbLaunch", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
public sealed class RemoveWandbLaunchCommand : LaunchByIdCommand
{
    /// <inheritdoc/>
    private protected override async Task ActAsync(string id)
    {
        var run = LaunchStore.Default.Get(id);
        if (!run.IsDone)
        {
            throw new LaunchException(
                "RunNotDone",
                LaunchErrorCategory.InvalidOperation,
                $"The run {id} is {run.State}. Stop it first: Stop-WandbLaunch {id}",
                run
            );
        }

        if (await ShouldProcessAsync($"{id} ({run.Source})", "Remove launch and log"))
        {
            LaunchStore.Default.Remove(id);
        }
    }
}
