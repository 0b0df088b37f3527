using System.Diagnostics;
using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;

namespace WandbLaunch.PowerShell;

// One launch, from its config to its end.
public sealed partial class StartWandbLaunchCommand
{
    private async Task LaunchAsync(LaunchConfig config, int number, bool together)
    {
        var name = RunLines.NameOf(config);
        var activity = ThrottleLimit == 1 && !together ? $"Launching {name}" : $"{number}: {name}";
        var begun = false;
        HostProcess? host = null;
        try
        {
            ShowLine(activity, "starting", null, number);
            var launcher = new Launcher(Runs, ConnectAsync)
            {
                Progress = new CallbackProgress(p =>
                    Progress(activity, p.Text, p.Percent is 100 ? null : p.Percent, number)
                ),
                Begun = (folder, resource) =>
                    host = NoWait || InJob is not null ? _supervision!.Expect(folder, resource) : null,
            };
            if (IsWhatIf())
            {
                Output(await launcher.PlanAsync(config, _options, WorkingFolder, Token));
                return;
            }

            if (!await ShouldProcessAsync(config.Source ?? "", $"Launch with {Runs.Resources.Of(config).Info.Name}"))
            {
                return;
            }

            begun = !NoWait;
            var prepared = await launcher.PrepareAsync(config, _options, WorkingFolder, Token);
            prepared.Warnings.ToList().ForEach(Warn);
            Progress(activity, "", 100, number);
            if (NoWait)
            {
                await _supervision!.LeaveAsync(prepared.Folder, prepared.Spec, prepared.Secrets, Token, host);
                Output(await WaitUntilStartedAsync(prepared.Run.Id));
                return;
            }

            // In whole characters of one stream each: output and errors of the program do not mix within one.
            Action<ReadOnlyMemory<byte>>? show = null;
            if (together)
            {
                // Too many for a line each.
            }
            else if (!Quiet && ThrottleLimit > 1)
            {
                var line = _lines.Begin(number, $"{prepared.Run.Id} {name}");
                show = bytes => line.Said(bytes.Span);
            }
            else if (!Quiet)
            {
                show = bytes => Show(Encoding.UTF8.GetString(bytes.Span));
            }

            var run =
                InJob is null || Runs.Resources.Get(prepared.Spec.Resource).Info.EngineRemembers
                    ? await _supervision!.RunAsync(
                        prepared.Folder,
                        prepared.Spec,
                        prepared.Secrets,
                        show,
                        null,
                        false,
                        Token
                    )
                    : await RunApartAsync(prepared, host, show);
            run.Warnings.ToList().ForEach(Warn);
            _lines.End(number);
            Output(run);
            if (Token.IsCancellationRequested && run.State == LaunchState.Stopped)
            {
                _stopped.Add((number, run));
            }
            else if (run.State == LaunchState.Failed)
            {
                Error(Failure(run), run);
            }
        }
        catch (OperationCanceledException) when (Token.IsCancellationRequested)
        {
            // Ctrl+C, before there was a run.
            if (begun)
            {
                _unstarted.Add((number, name));
            }
        }
        catch (Exception e)
            when (e is LaunchException or IOException or UnauthorizedAccessException or HttpRequestException)
        {
            Error(e, config.Uri);
        }
        finally
        {
            host?.Dispose();
            _lines.End(number);
            Progress(activity, "", 100, number);
            if (!together)
            {
                _slots!.Release();
            }
        }
    }

    internal static LaunchException Failure(LaunchedRun run)
    {
        var tail = run.LogPath is null ? "" : Launcher.LastLines(run.LogPath, 10);
        var why =
            run.Reason
            ?? (
                run.ExitCode is { } ended
                    ? $"it ended with exit code {ExitCodes.Show(ended)}"
                    : "how it ended is not known"
            );
        return new LaunchException(
            run.OutOfMemory ? "RunOutOfMemory"
                : run.ErrorId == RunLimits.TimeFault ? "TimeLimit"
                : run.ErrorId == RunLimits.StartFault ? "StartLimit"
                : run.ExitCode is not null ? "RunFailed"
                : run.Started is null ? "RunNotStarted"
                : "RunLost",
            run.ErrorId is RunLimits.TimeFault or RunLimits.StartFault
                ? LaunchErrorCategory.OperationTimeout
                : LaunchErrorCategory.OperationStopped,
            $"The run {run.Id} of {run.Source} failed: {why}.{(tail.Length > 0 ? $" Its last lines (all: Receive-WandbLaunchLog {run.Id}):\n{tail}" : "")}",
            run
        );
    }

    // A run's host writes the start down within moments; whoever gets the object can act on it then.
    private async Task<LaunchedRun> WaitUntilStartedAsync(string id)
    {
        var pause = TimeSpan.FromMilliseconds(2);
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < TimeSpan.FromSeconds(5); )
        {
            var run = await Runs.GetAsync(id, Token);
            if (run.State != LaunchState.Starting)
            {
                return run;
            }

            await Task.Delay(pause, Token);
            pause = pause < TimeSpan.FromMilliseconds(32) ? pause * 2 : TimeSpan.FromMilliseconds(50);
        }

        return await Runs.GetAsync(id, Token);
    }
}
