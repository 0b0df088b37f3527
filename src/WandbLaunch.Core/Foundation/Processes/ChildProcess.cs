using System.Diagnostics;
using System.Text;

namespace WandbLaunch.Foundation;

/// <summary>
/// A process with pipes for its three streams, which this process started. On Windows it gets these pipes and nothing else
/// that this process could hand down: a pipe of the shell's own output, held by a process that outlives the shell, would
/// keep whoever reads it waiting.
/// </summary>
internal sealed class ChildProcess : IDisposable
{
    private static readonly UTF8Encoding Utf8 = new(false);

    private ChildProcess(Process process, StreamWriter input, StreamReader output, StreamReader error) =>
        (Process, StandardInput, StandardOutput, StandardError) = (process, input, output, error);

    internal Process Process { get; }

    internal StreamWriter StandardInput { get; }

    internal StreamReader StandardOutput { get; }

    internal StreamReader StandardError { get; }

    internal int Id => Process.Id;

    internal int ExitCode => Process.ExitCode;

    /// <summary>Starts it.</summary>
    /// <param name="start">The program, its words, folder and variables.</param>
    /// <param name="job">On Windows, what holds it and all that it starts from its first instruction on.</param>
    /// <param name="outlives">True when it is to live on when what this process belongs to is ended.</param>
    /// <exception cref="System.ComponentModel.Win32Exception">It cannot be started.</exception>
    internal static ChildProcess Start(ProcessStartInfo start, WindowsJob? job = null, bool outlives = false)
    {
        if (OperatingSystem.IsWindows())
        {
            var (process, input, output, error) = WindowsProcess.Start(start, job, outlives);
            return new ChildProcess(
                process,
                new StreamWriter(input, Utf8) { AutoFlush = true },
                new StreamReader(output, Utf8),
                new StreamReader(error, Utf8)
            );
        }

        var started = new Process { StartInfo = start };
        try
        {
            started.Start();
            return new ChildProcess(started, started.StandardInput, started.StandardOutput, started.StandardError);
        }
        catch
        {
            started.Dispose();
            throw;
        }
    }

    internal Task WaitForExitAsync(CancellationToken token) => Process.WaitForExitAsync(token);

    public void Dispose() => Process.Dispose();
}
