using System.Diagnostics;
using System.Text;
using System.Text.Json;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Launching;

/// <summary>
/// The host of a run, which outlives the shell. It may be started before the run is prepared: it waits for the one line that
/// gives it the run, and ends when its input ends without that line, so that nothing is left of a launch that came to nothing
/// or of a launcher that was killed.
/// </summary>
internal sealed class HostProcess : IDisposable
{
    private readonly LaunchEnvironment _environment;
    private readonly object _lock = new();
    private Task<ChildProcess>? _started;

    private HostProcess(LaunchEnvironment environment, string folder) => (_environment, Folder) = (environment, folder);

    /// <summary>Folder of the launch that it is for.</summary>
    internal string Folder { get; }

    /// <summary>A host that is started when it is given its run.</summary>
    internal static HostProcess Of(LaunchEnvironment environment, string folder) => new(environment, folder);

    /// <summary>Starts a host beside the preparation of its run. A failure to start is told at <see cref="HandOverAsync"/>.</summary>
    /// <param name="environment">Where a runtime is looked for.</param>
    /// <param name="folder">Folder of the launch, which need not be there yet.</param>
    internal static HostProcess Begin(LaunchEnvironment environment, string folder)
    {
        var host = new HostProcess(environment, folder);

        // Not by this thread: the launch goes on while the system makes a process.
        host._started = Task.Run(host.Start);
        return host;
    }

    /// <summary>The command of a process that starts a program, and is given the orphans of what the program starts; null where it cannot be had.</summary>
    internal static OwnCommand? Adopter(LaunchEnvironment environment)
    {
        try
        {
            return OwnProgram.Host(environment).Command("adopt");
        }
        catch (LaunchException)
        {
            // No runtime, or a module that is not whole: orphans are found by the variable that they carry.
            return null;
        }
    }

    /// <summary>The host's word that the run is its own now.</summary>
    internal const string Watching = "watching";

    /// <summary>The secrets that <see cref="HandOverAsync"/> has sent: with them the run is the host's.</summary>
    internal static Dictionary<string, string> ReadSecrets(string line)
    {
        // Not by the serializer, which is compiled for half as long as this process takes to start.
        using var document = JsonDocument.Parse(line);
        var secrets = new Dictionary<string, string>();
        foreach (var secret in document.RootElement.EnumerateObject())
        {
            secrets[secret.Name] = secret.Value.GetString()!;
        }

        return secrets;
    }

    /// <summary>Loads what a host needs for its run, while it waits for it or begins: each part is loaded at its first use, and that is most of the time from the line to the program.</summary>
    internal static void GetReady()
    {
        _ = ReadSecrets("{}");
        var spec = new RunSpec
        {
            Id = "",
            Resource = "",
            Command = [""],
            WorkingFolder = "",
            Environment = { ["A"] = "" },
        };
        _ = RunSpec.Read(spec.Write());
        var run = new LaunchedRun
        {
            Id = "",
            Source = "",
            Resource = "",
            Command = [""],
            Started = DateTimeOffset.UnixEpoch,
            State = LaunchState.Starting,
            Handle = new RunHandle(RunHandle.Process, ""),
        };
        _ = LaunchedRunText.Read(LaunchedRunText.Write(run));
        using var process = new Process();
        process.StartInfo = new ProcessStartInfo("") { RedirectStandardInput = true };
        process.StartInfo.Environment["A"] = "";
        process.StartInfo.ArgumentList.Add("");
    }

    private static string Line(IReadOnlyDictionary<string, string> secrets)
    {
        using var bytes = new MemoryStream();
        using (var writer = new Utf8JsonWriter(bytes))
        {
            writer.WriteStartObject();
            foreach (var (name, value) in secrets)
            {
                writer.WriteString(name, value);
            }

            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(bytes.GetBuffer(), 0, (int)bytes.Length);
    }

    /// <summary>Gives it the prepared run, once. Secrets go through its standard input, not its command line or a file.</summary>
    /// <exception cref="LaunchException"><c>HostFailed</c>, or why there is no program to start.</exception>
    internal async Task HandOverAsync(IReadOnlyDictionary<string, string> secrets, CancellationToken token)
    {
        token.ThrowIfCancellationRequested();
        if (TakeAsync() is { } waiting && await TryHandOverAsync(await waiting, secrets, token) is null)
        {
            return;
        }

        // None was begun, or it was ended while it waited: it has not touched the run.
        if (await TryHandOverAsync(Start(), secrets, token) is { } error)
        {
            throw new LaunchException(
                "HostFailed",
                LaunchErrorCategory.InvalidOperation,
                $"The supervisor of the run did not start: {error.Trim()} If a file is missing, install the module again.",
                Folder
            );
        }
    }

    /// <summary>Ends a host that was not given its run.</summary>
    public void Dispose() =>
        _ = TakeAsync()
            ?.ContinueWith(
                static started =>
                {
                    if (started.IsCompletedSuccessfully)
                    {
                        Close(started.Result);
                    }
                    else
                    {
                        // What could not be started, for a launch that did not get so far.
                        _ = started.Exception;
                    }
                },
                CancellationToken.None,
                TaskContinuationOptions.None,
                TaskScheduler.Default
            );

    private ChildProcess Start() => OwnProgram.Host(_environment).Start(["run", Folder]);

    private Task<ChildProcess>? TakeAsync()
    {
        lock (_lock)
        {
            var started = _started;
            _started = null;
            return started;
        }
    }

    // Null when the host has the run, else what it said at its end.
    private static async Task<string?> TryHandOverAsync(
        ChildProcess process,
        IReadOnlyDictionary<string, string> secrets,
        CancellationToken token
    )
    {
        try
        {
            try
            {
                await process.StandardInput.WriteLineAsync(Line(secrets).AsMemory(), token);
                process.StandardInput.Close();
            }
            catch (IOException)
            {
                // It is gone; why, it may have said.
            }

            return await process.StandardOutput.ReadLineAsync(token) == Watching
                ? null
                : await process.StandardError.ReadToEndAsync(token);
        }
        finally
        {
            Close(process);
        }
    }

    // A Process leaves streams that were asked for to the collector.
    private static void Close(ChildProcess process)
    {
        try
        {
            process.StandardInput.Dispose();
        }
        catch (IOException)
        {
            // It is gone, and what was to be said to it with it.
        }

        process.StandardOutput.Dispose();
        process.StandardError.Dispose();
        process.Dispose();
    }
}
