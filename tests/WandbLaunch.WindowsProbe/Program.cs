using System.Collections;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;

namespace WandbLaunch.WindowsProbe;

/// <summary>
/// The program that tests launch on Windows. Its first word says what it does: <c>args</c> prints the others, one a line,
/// <c>env</c> its variables, <c>exit CODE</c> ends with a code of 32 bits, <c>sleep SECONDS</c> waits, <c>tree DEPTH</c>
/// starts itself as its own child and waits, <c>leave FILE</c> leaves a child behind that writes its id there,
/// <c>grace FILE</c> ends with 7 and a file when it is asked to by CTRL_BREAK, <c>deaf</c> does not listen,
/// <c>hold FILE SECONDS</c> keeps a file open, <c>crlf</c> prints both ends of lines, <c>cwd</c> its folder.
/// </summary>
internal static class Program
{
    private static int Main(string[] args)
    {
        var output = new StreamWriter(Console.OpenStandardOutput(), new System.Text.UTF8Encoding(false))
        {
            AutoFlush = true,
            NewLine = "\n",
        };
        var stopped = new ManualResetEventSlim();
        switch (args)
        {
            case [.., "-c", _]:
                // Under the name of py or python: the version that it is, and where it is. As the alias of the Store that is no Python: nothing.
                output.Write(Environment.GetEnvironmentVariable("PROBE_PYTHON"));
                return Environment.GetEnvironmentVariable("PROBE_PYTHON") is null ? 9009 : 0;
            case ["-NoProfile", ..]:
                // Under the name of pwsh.
                output.WriteLine(string.Join('|', args));
                return 0;
            case ["args", ..]:
                foreach (var word in args[1..])
                {
                    output.WriteLine(word);
                }

                return 0;
            case ["env", ..]:
                foreach (DictionaryEntry variable in Environment.GetEnvironmentVariables())
                {
                    output.WriteLine($"{variable.Key}={variable.Value}");
                }

                return 0;
            case ["cwd"]:
                output.WriteLine(Environment.CurrentDirectory);
                return 0;
            case ["crlf"]:
                output.Write("one\r\ntwo\nthree\r\n");
                return 0;
            case ["exit", var code]:
                // Environment.Exit takes them as they are: 0xC0000005 is -1073741819.
                return unchecked((int)ulong.Parse(code, CultureInfo.InvariantCulture));
            case ["sleep", var seconds]:
                output.WriteLine("sleeping " + Environment.ProcessId);
                Thread.Sleep(TimeSpan.FromSeconds(double.Parse(seconds, CultureInfo.InvariantCulture)));
                return 0;
            case ["tree", var depth]:
                var left = int.Parse(depth, CultureInfo.InvariantCulture);
                output.WriteLine("process " + Environment.ProcessId);
                if (left > 0)
                {
                    Child("tree", (left - 1).ToString(CultureInfo.InvariantCulture));
                }

                Thread.Sleep(TimeSpan.FromMinutes(10));
                return 0;
            case ["leave", var file]:
                var child = Child("sleep", "600");
                File.WriteAllText(file, child.Id.ToString(CultureInfo.InvariantCulture));
                output.WriteLine("left " + child.Id);
                return 0;
            case ["grace", var file]:
                using (
                    PosixSignalRegistration.Create(
                        PosixSignal.SIGQUIT,
                        c =>
                        {
                            c.Cancel = true;
                            stopped.Set();
                        }
                    )
                )
                {
                    output.WriteLine("listening");
                    stopped.Wait();
                    File.WriteAllText(file, "saved");
                    output.WriteLine("saved");
                    return 7;
                }
            case ["deaf"]:
                using (PosixSignalRegistration.Create(PosixSignal.SIGQUIT, c => c.Cancel = true))
                {
                    Child("sleep", "600");
                    output.WriteLine("listening");
                    Thread.Sleep(TimeSpan.FromMinutes(10));
                    return 0;
                }
            case ["hold", var file, var seconds]:
                using (File.Open(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read))
                {
                    output.WriteLine("holding");
                    Thread.Sleep(TimeSpan.FromSeconds(double.Parse(seconds, CultureInfo.InvariantCulture)));
                    return 0;
                }
            default:
                Console.Error.WriteLine("probe: unknown words");
                return 2;
        }
    }

    // It has this process's pipes, as what a program starts has.
    private static Process Child(params string[] words) =>
        Process.Start(new ProcessStartInfo(Environment.ProcessPath!, words) { UseShellExecute = false })!;
}
