using System.Management.Automation;
using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;

namespace WandbLaunch.PowerShell;

/// <summary>Reads the log of launches.</summary>
/// <remarks>Writes what the program printed, a string for each line. -Follow goes on until the run is done. The log stays after the end.</remarks>
/// <example><para>The last lines of the newest launch</para><code>@(Get-WandbLaunch)[0] | Receive-WandbLaunchLog -Tail 5</code><para>Secrets that this session knows are masked.</para></example>
/// <example><para>Follow a run</para><code>Start-WandbLaunch ./train -EntryPoint 'python train.py' -Resource local-process -NoWait | Receive-WandbLaunchLog -Follow</code><para>Ends with the run. Ctrl+C ends only the reading.</para></example>
/// <example><para>Look for an error in the logs of all that failed</para><code>Get-WandbLaunch -State Failed | Receive-WandbLaunchLog | Select-String 'error'</code><para>Lines are texts, as from Get-Content.</para></example>
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
        var run = await Store.GetAsync(id, Token);
        if (!Follow)
        {
            await Store.CopyLogAsync(run, Token);
            await ReadAsync(run);
            return;
        }

        // What an engine keeps is copied from here while nobody else does.
        using var leave = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var copying = KeepCopyingAsync(Store.Folder(id), leave.Token);
        try
        {
            await ReadAsync(run);
        }
        finally
        {
            await leave.CancelAsync();
            await Task.WhenAny(copying, Task.Delay(TimeSpan.FromSeconds(5), CancellationToken.None));
        }
    }

    private async Task KeepCopyingAsync(string folder, CancellationToken leave)
    {
        using var supervision = new Supervision(Store.Resources);
        while (!leave.IsCancellationRequested)
        {
            if (supervision.TryAttachAsync(folder, leave) is { } attached && (await attached).IsDone)
            {
                return;
            }

            await Task.Delay(500, leave).ContinueWith(static _ => { }, TaskScheduler.Default);
        }
    }

    private async Task ReadAsync(LaunchedRun run)
    {
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

            // A reader of its own would take the end of the file for the end of the text, and half a character for a broken one.
            var decoder = Encoding.UTF8.GetDecoder();
            var rest = "";
            while (true)
            {
                // Asked before reading: what was written before the end is read before the loop ends.
                var done = !Follow || (await Store.GetAsync(run.Id, Token)).IsDone;
                rest = await ReadAllAsync(stream, decoder, rest);
                if (done)
                {
                    break;
                }

                await Task.Delay(100, Token);
            }

            var last = new char[4];
            rest += new string(last, 0, decoder.GetChars([], last, true));
            if (rest.Length > 0)
            {
                Output(Secrets.Mask(rest.TrimEnd('\r')));
            }
        }
    }

    private async Task<string> ReadAllAsync(FileStream stream, Decoder decoder, string rest)
    {
        var bytes = new byte[1 << 16];
        var buffer = new char[Encoding.UTF8.GetMaxCharCount(bytes.Length)];
        var lines = new List<string>(Batch);
        if (stream.Length < stream.Position)
        {
            // Begun anew: a container's log is read again from its start after its supervisor was ended.
            stream.Position = 0;
            decoder.Reset();
            rest = "";
        }

        int got;
        while ((got = await stream.ReadAsync(bytes, Token)) > 0)
        {
            var read = decoder.GetChars(bytes, 0, got, buffer, 0, false);
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
